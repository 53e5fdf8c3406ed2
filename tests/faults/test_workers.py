"""Short forms of what is done to workers: poisoned blocks, kills, signals, memory a block."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bigseg.cli.main import run
from tests.benchmarks import blocks
from tests.faults import poisons, workers_poison, workers_storm


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The volume's folder and what an undisturbed run gives."""
    folder = tmp_path_factory.mktemp("poison")
    return folder, workers_poison.undisturbed(folder)


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Two workers of little memory."""
    with workers_poison.workers() as executor:
        yield executor.client.scheduler.address


@pytest.mark.parametrize("kind", poisons.KINDS)
def test_a_poisoned_block_is_left_out_alone(golden: tuple[Path, dict[str, str]], scheduler: str, kind: str) -> None:
    """After three tries; the rest of its stage is journalled, no other begins; healed, the run ends golden."""
    folder, expected = golden
    workers_poison.poisoned(folder, kind, scheduler, expected)


def test_a_held_gil_is_waited_for(golden: tuple[Path, dict[str, str]], scheduler: str) -> None:
    """A block that holds the GIL for 4 s, so that its worker gives no sign of life, is done like any other."""
    folder, expected = golden
    workers_poison.holding_the_gil(folder, scheduler, expected, 4)


def test_stages_that_do_not_need_a_block_come_to_their_end(scheduler: str, tmp_path: Path) -> None:
    """A block of the second pass is left out: the pyramid of what the first stored is made, the third is not."""
    workers_poison.late(tmp_path / "workers", scheduler)
    workers_poison.late(tmp_path / "one process", None)


def test_a_poisoned_block_on_a_cluster_of_somebody_else(golden: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """A scheduler that gives tasks up after one dead worker too many: the block is named as on a cluster of our own."""
    folder, expected = golden
    (tmp_path / "volume.zarr").symlink_to(folder / "volume.zarr")
    with workers_poison.foreign(allowed_failures=1) as scheduler:
        workers_poison.poisoned(tmp_path, "segfault", scheduler, expected)


def test_one_process_leaves_a_block_out_too(golden: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """Without workers an exception in one block does not keep the others of the stage from being done."""
    folder, expected = golden
    (tmp_path / "volume.zarr").symlink_to(folder / "volume.zarr")
    workers_poison.poisoned(tmp_path, "error", None, expected)


def test_a_function_that_always_fails_is_given_up_early(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight blocks in vain are enough; the command line leaves with 9 and one line with the blocks."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "always.py").write_text("def fails(array):\n    raise ValueError('never')\n")
    (tmp_path / "p.yaml").write_text(
        "version: 1\nsteps: [{id: own, op: map_block, function: 'always:fails'}]\nsave: [own]\n"
    )
    volume = poisons.make_volume(tmp_path / "volume.zarr")
    arguments = ["run", tmp_path / "p.yaml", "-i", volume, "-o", tmp_path / "out", "--workers", 0, "--block", 8]
    code = run([*map(str, arguments), "--allow-code"])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 9, said
    assert "stage pass-1, unit 0 raised an error 3 times" in said
    assert "as were 7 more units: 1, 2, 3, 4, 5, 6, 7" in said


def test_killed_workers_cost_only_time(tmp_path: Path) -> None:
    """Five SIGKILLs of workers: every run ends golden, each block journalled once."""
    killed, _ = workers_storm.storm(tmp_path, 5, 48)
    assert killed == 5


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGTERM, 1), (signal.SIGUSR1, 0)])
def test_a_batch_systems_signal_journals_what_is_in_flight(
    tmp_path: Path, number: signal.Signals, workers: int
) -> None:
    """SIGTERM and SIGUSR1 leave within 25 s with 143 and nothing computed in vain; the next command continues."""
    workers_storm.terminated(tmp_path, 2, number, workers, 48)


@pytest.mark.parametrize("workers", [0, 2])
def test_no_block_begins_that_would_not_end_before_the_walltime(tmp_path: Path, workers: int) -> None:
    """Blocks of 0.4 s in a walltime of 3.2 s: the run leaves before its end, nothing is computed in vain."""
    assert len(workers_storm.near_the_end(tmp_path, workers, starts=2)) == 2


def test_a_worker_hands_over_what_would_not_end_before_its_job_does(tmp_path: Path) -> None:
    """It does some blocks, leaves in order before its end, and no block is begun twice."""
    done, early = workers_storm.outlived(tmp_path)
    assert done > 0
    assert early > 0


def test_a_block_costs_the_driver_next_to_nothing() -> None:
    """30,000 blocks of nothing through Dask: at most 1 ms and 0.5 KiB a block of the driver with its scheduler."""
    cost = blocks.measure_apart(30_000, 2)
    assert cost.good, cost

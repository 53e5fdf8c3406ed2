"""Late binding: answers from kept components equal runs from the start, and the folder of the run stays as it is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

import bigseg
from bigseg.cli.main import run as command
from bigseg.engine.damage import find_damage
from bigseg.errors import BigsegError, ChangedError, OutputError, PipelineError
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.result import Run
from bigseg.pipeline.steps import Step
from tests.volumes import store

TEXT = """
version: 1
keep_components: true
steps:
  - {id: levels, op: histogram}
  - {id: smooth, op: gaussian, sigma: 1.0, from: input}
  - {id: voids, op: hysteresis, low: 80, high: "${levels.p50}", polarity: below, min_size: 2}
  - {id: objects, op: label}
  - {id: large, op: keep_largest, k: 4}
  - {id: regions, op: regions, from: objects, intensity: input}
save: [voids, objects, large]
"""
CHANGES = [
    {"voids.low": 90},
    {"voids.min_size": 40},
    {"voids.low": 100, "large.k": 2},
    {"large.k": 1, "voids.min_size": 1},
]


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Run]:
    """A volume, and a finished run on it that has kept its components."""
    from scipy import ndimage

    tmp = tmp_path_factory.mktemp("tune")
    smooth = ndimage.gaussian_filter(np.random.default_rng(7).standard_normal((40, 47, 51)), 2.5)
    blobs = np.asarray(128 + 40 * smooth / smooth.std()).clip(0, 255).astype(np.uint8)
    (tmp / "pipe.yaml").write_text(TEXT)
    volume = store(tmp / "v.zarr", blobs)
    run = Pipeline.load(tmp / "pipe.yaml").run(volume, tmp / "run", block=(17,), workers=0, report=False)
    return tmp, volume, run


def texts(changes: dict[str, int]) -> list[str]:
    return [f"{key}={value}" for key, value in changes.items()]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_answers_and_new_volumes_equal_a_run_from_the_start(
    parent: tuple[Path, Path, Run], changes: dict[str, int], tmp_path: Path
) -> None:
    """Numbers and sizes without a pass, volumes and tables with one: bit for bit those of a new run."""
    tmp, volume, run = parent
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    tuned = bigseg.tune(run.path, changes)
    anew = Pipeline.load(tmp / "pipe.yaml", texts(changes)).run(
        volume, tmp_path / "anew", block=(17,), workers=0, report=False
    )
    for name in ("voids", "objects", "large"):
        assert tuned.steps[name].objects == anew.values[name]["objects"]
        assert tuned.steps[name].num_pixels == np.count_nonzero(np.asarray(anew.outputs[name]))
    sizes = np.bincount(np.asarray(anew.outputs["objects"]).ravel())[1:]
    found = tuned.steps["objects"]
    np.testing.assert_array_equal(np.repeat(found.sizes, found.counts), np.sort(sizes))
    assert tuned.table().loc["objects", "largest"] == sizes.max()
    again = tuned.run(tmp_path / "again", workers=0, report=False)
    for name in ("voids", "objects", "large"):
        np.testing.assert_array_equal(np.asarray(again.outputs[name]), np.asarray(anew.outputs[name]))
    assert again.tables["regions"].equals(anew.tables["regions"])
    passes = [stage["name"] for stage in again.record["stages"] if stage["kind"] == "pass"]
    assert len(passes) == 1
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before
    assert bigseg.tune(again.path).steps["objects"].objects == found.objects  # it kept them, too


def test_what_decides_the_components_is_refused(parent: tuple[Path, Path, Run], tmp_path: Path) -> None:
    """The weak threshold, the connectivity, a filter, an unknown step: refused before anything is made."""
    _, _, run = parent
    for change in ("voids.high=100", "voids.connectivity=3", "smooth.sigma=2"):
        with pytest.raises(PipelineError, match="finds other components"):
            _ = bigseg.tune(run.path, [change]).steps
        with pytest.raises(PipelineError, match="finds other components"):
            bigseg.tune(run.path, [change]).run(tmp_path / "never")
    with pytest.raises(PipelineError, match="did you mean 'voids'"):
        bigseg.tune(run.path, {"viods.low": 3})
    assert not (tmp_path / "never").exists()


def test_a_changed_input_is_refused(parent: tuple[Path, Path, Run], tmp_path: Path) -> None:
    """Components of the old scan never meet voxels of a new one, though their mask may be the same."""
    tmp, volume, _ = parent
    own = tmp_path / "v.zarr"
    shutil.copytree(volume, own)
    run = Pipeline.load(tmp / "pipe.yaml").run(own, tmp_path / "run", block=(17,), workers=0, report=False)
    array = zarr.open_array(own, mode="r+")
    array[0, 0, 0] = int(array[0, 0, 0]) ^ 1
    with pytest.raises(ChangedError, match=r"inputs\.input\.content: was"):
        bigseg.tune(run.path, {"voids.low": 90}).run(tmp_path / "never", workers=0)
    assert not (tmp_path / "never").exists()
    assert bigseg.tune(run.path, {"voids.low": 90}).steps["voids"].objects  # what was kept is told all the same


@pytest.mark.parametrize("given", [("--spacing", "2 um"), ("--spacing", "2 um", "--roi", "5:,:,:40")], ids=str)
def test_a_run_with_its_own_spacing_is_tuned(
    parent: tuple[Path, Path, Run], tmp_path: Path, given: tuple[str, ...]
) -> None:
    """A voxel size that was given on the command line is that of the answers and of the new run."""
    tmp, volume, _ = parent
    out = tmp_path / "out"
    options = ("--workers", "0", "--block", "17", *given)
    assert command(["run", str(tmp / "pipe.yaml"), "-i", str(volume), "-o", str(out), *options]) == 0
    tuned = bigseg.tune(out, {"voids.low": 90})
    found = tuned.steps["objects"]
    assert found.unit == "micrometer"
    assert found.volume == 8 * found.num_pixels
    again = tuned.run(tmp_path / "again", workers=0, report=False)
    assert again.record["volume"]["spacing"] == [2.0] * 3
    assert again.values["objects"]["objects"] == found.objects


def test_arrays_in_memory_cannot_be_tuned_by_themselves(tmp_path: Path, blobs: np.ndarray) -> None:
    """What the run was made from is gone with its process: this is said."""
    step = Step("dark", bigseg.Hysteresis(low=60, high=80, polarity="below"))
    run = Pipeline([step], keep_components=True).run(blobs, tmp_path / "run", report=False)
    with pytest.raises(OutputError, match="array in memory"):
        _ = bigseg.tune(run.path, {"dark.low": 50}).steps


def test_runs_that_kept_nothing_or_are_none(parent: tuple[Path, Path, Run], tmp_path: Path) -> None:
    """Each refusal names what is missing."""
    _, volume, _ = parent
    with pytest.raises(OutputError, match="holds no run"):
        bigseg.tune(tmp_path)
    plain = Pipeline([Step("dark", bigseg.Hysteresis(low=60, high=80, polarity="below"))])
    run = plain.run(volume, tmp_path / "plain", block=(20,), workers=0, report=False)
    assert not (run.path / "components").exists()
    with pytest.raises(OutputError, match="keep_components: true"):
        bigseg.tune(run.path, {"dark.low": 50})


def test_the_command_answers_and_runs(
    parent: tuple[Path, Path, Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`bigseg tune` prints a table or JSON; with -o it makes a run, which `bigseg run` does not continue."""
    tmp, volume, run = parent
    assert command(["tune", str(run.path), "--set", "voids.low=90"]) == 0
    text = capsys.readouterr().out
    assert "objects" in text
    assert command(["tune", str(run.path), "--set", "voids.low=90", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["steps"]["voids"]["objects"] == bigseg.tune(run.path, {"voids.low": 90}).steps["voids"].objects
    out = tmp_path / "new"
    assert command(["tune", str(run.path), "--set", "voids.low=90", "-o", str(out), "--workers", "0"]) == 0
    assert "complete" in capsys.readouterr().out
    assert (out / "report.html").is_file()
    with pytest.raises(ChangedError, match="components_of"):
        Pipeline.load(tmp / "pipe.yaml", ["voids.low=90"]).run(volume, out, workers=0)


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        ("components", 36),
        ("components/voids.join", 9),
        ("components/voids.components/00000/0005.part", 1),
        ("components/components.json", 1),
    ],
)
@pytest.mark.parametrize("gone", [True, False])
def test_kept_components_are_compared_and_made_again(
    parent: tuple[Path, Path, Run], tmp_path: Path, harm: str, found: int, gone: bool
) -> None:
    """What is gone or changed in components/ is found under its own name, and mended as it was; tune says so."""
    out = tmp_path / "run"
    shutil.copytree(parent[2].path, out)
    before = contents(out / "components")
    for path in [out / harm, *(out / harm).rglob("*")]:
        if path.is_file():
            path.unlink() if gone else path.write_bytes(path.read_bytes()[:-1] + b"!")
    if gone:
        shutil.rmtree(out / harm, ignore_errors=True)
    keys = {item.key for item in find_damage(out).damaged}
    assert len([key for key in keys if key.startswith(harm)]) == len(keys) >= found
    if gone or not harm.endswith("join"):  # of which this answer reads only some arrays
        with pytest.raises(BigsegError, match=r"bigseg verify .*--repair"):
            bigseg.tune(out, CHANGES[1]).rows()
    assert command(["verify", str(out), "--repair", "--workers", "0"]) == 0
    assert contents(out / "components") == before
    assert find_damage(out).damaged == []
    assert bigseg.tune(out, CHANGES[1]).rows() == bigseg.tune(parent[2].path, CHANGES[1]).rows()


def test_components_of_another_run_are_missed_too(parent: tuple[Path, Path, Run], tmp_path: Path) -> None:
    """A tuned run has its components from its parent, and gets them from there again."""
    out = bigseg.tune(parent[2].path, CHANGES[1]).run(tmp_path / "child", workers=0, report=False).path
    before = contents(out / "components")
    shutil.rmtree(out / "components")
    assert {item.key for item in find_damage(out).damaged} >= {"components/voids.components", "components/voids.join"}
    assert command(["verify", str(out), "--repair", "--workers", "0"]) == 0
    assert contents(out / "components") == before


def contents(folder: Path) -> dict[str, bytes]:
    """What lies below a folder; of the index what it says of the objects, for stages without values come and go."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    index = json.loads(found.pop("components.json"))
    values = {name: value for name, value in index["values"].items() if value}
    return found | {"components.json": json.dumps(index | {"values": values}, sort_keys=True).encode()}


def test_the_answer_loads_no_library_that_it_does_not_need(parent: tuple[Path, Path, Run]) -> None:
    """An answer imports neither Dask nor pandas, zarr, pyarrow or xarray: with them it would take twice as long."""
    code = (
        "import sys; from bigseg.cli.main import run; "
        f"code = run(['tune', {str(parent[0] / 'run')!r}, '--set', 'voids.low=90']); "
        "print([name for name in ('dask', 'pandas', 'zarr', 'pyarrow', 'xarray') if name in sys.modules]); "
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "voids" in done.stdout


def test_a_slider_shows_each_answer(parent: tuple[Path, Path, Run]) -> None:
    """Moving the notebook's slider gives the table of that value."""
    pytest.importorskip("ipywidgets")
    _, _, run = parent
    slider = bigseg.tune_slider(run.path, "voids.low", 60, 100)
    for value in (80.0, 95.0):
        slider.children[0].value = value
        slider.update()
        assert slider.result.equals(bigseg.tune(run.path, {"voids.low": value}).table())


@pytest.mark.parametrize("restart", [False, True])
def test_the_finished_run_is_never_replaced(parent: tuple[Path, Path, Run], tmp_path: Path, restart: bool) -> None:
    """Tuning into the folder of the run itself, by whatever name, is refused and changes nothing there."""
    _, _, run = parent
    (tmp_path / "linked").symlink_to(run.path.parent)
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    for out in (run.path, tmp_path / "linked" / run.path.name):
        with pytest.raises(OutputError, match="never changes: give another folder"):
            bigseg.tune(run.path, {"voids.low": 90}).run(out, workers=0, restart=restart)
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before

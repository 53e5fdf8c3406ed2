"""R13: a block that segfaults, takes all memory, sleeps for ever, raises, or holds the GIL; two workers.

Only that block is left out, after three tries; the other blocks of its stage are done and journalled, no stage that
needs it starts, every other stage comes to its end, the message names it; when its cause is mended the same command
gives the golden result. The same on somebody else's cluster, with the settings that Dask has by itself.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import dask
import numpy as np
import zarr

from bigseg.engine.cluster.executor import DaskExecutor
from bigseg.engine.cluster.starting import local_cluster
from bigseg.errors import BlockError
from bigseg.local.digest import digest
from tests.faults import chain, poisons
from tests.faults.driver import environment, fast_folder
from tests.faults.run import Row

TESTS = ("R13",)
MEMORY = 768 << 20
"""Of a worker: 400 MiB are its own."""
ASLEEP_SECONDS = 4.0
"""After so long a block is taken for hung here; the others take a hundredth, the first of a new worker a second. Longer
where others keep the machine busy: at a load of 20 on 2 cores the first takes 5 s."""
SAVED = ("half", "objects")
SAID = {
    "segfault": "unit 21 crashed its worker 3 times (Segmentation fault)",
    "memory": "unit 21 ran out of memory 3 times",
    "asleep": "unit 21 did not end 3 times",
    "error": "unit 21: map_block: the function",
}


def golden(out: Path) -> dict[str, str]:
    """Digests of what a finished run holds."""
    return {name: digest(np.asarray(zarr.open_group(out / f"{name}.ome.zarr", mode="r")["0"][...])) for name in SAVED}


@contextmanager
def workers() -> Iterator[DaskExecutor]:
    """Two workers of little memory."""
    executor = local_cluster(2, MEMORY)
    try:
        yield executor
    finally:
        executor.close()


@contextmanager
def foreign(allowed_failures: int | None = None, options: Sequence[str] = ()) -> Iterator[str]:
    """A scheduler and two workers as anybody starts them, with Dask's own settings; gives the address.

    Parameters
    ----------
    allowed_failures : after how many dead workers the scheduler gives a task up; None: as Dask has it, 3.
    options : of ``dask worker``.
    """
    folder = fast_folder()
    file = folder / "scheduler.json"
    around = environment()
    if allowed_failures is not None:
        around["DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"] = str(allowed_failures)
    scheduler = ("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    worker = ("worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1")
    started = []
    try:
        for command in (scheduler, *[(*worker, "--memory-limit", str(MEMORY), *options)] * 2):
            line = [sys.executable, "-m", "dask", *command]
            started.append(subprocess.Popen(line, cwd=folder, env=around, stderr=subprocess.DEVNULL))
        end = time.monotonic() + 60
        while not file.exists() and time.monotonic() < end:
            time.sleep(0.05)
        yield str(json.loads(file.read_text())["address"])
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)
        shutil.rmtree(folder)


def undisturbed(folder: Path) -> dict[str, str]:
    """The golden result, computed in this process with the cure at hand."""
    folder.mkdir(parents=True, exist_ok=True)
    poisons.make_volume(folder / "volume.zarr")
    cure = folder / "cured"
    cure.touch()
    out = folder / "golden"
    pipe = poisons.pipeline("error", cure)
    pipe.run(folder / "volume.zarr", out, workers=0, block=(poisons.BLOCK,), report=False)
    return golden(out)


def poisoned(folder: Path, kind: str, scheduler: str | None, expected: dict[str, str]) -> str:
    """Run with one poisoned block, check what is left, heal it, run again, check the result; gives back the message."""
    out, cure = folder / kind, folder / f"{kind}.cure"
    pipe = poisons.pipeline(kind, cure)

    def run() -> None:
        place = {"scheduler": scheduler} if scheduler else {"workers": 0}
        pipe.run(folder / "volume.zarr", out, block=(poisons.BLOCK,), report=False, **place)

    try:
        share = max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))
        with dask.config.set({"bigseg.unit-seconds": ASLEEP_SECONDS * share if kind == "asleep" else 600}):
            run()
    except BlockError as error:
        message = str(error)
    else:
        raise AssertionError("the poisoned block was not noticed")
    assert SAID[kind] in message, message
    assert "\n" not in message
    units = chain.recorded(out)
    assert {stage for stage, _ in units} == {"pass-1"}, "a stage began that needs the block"
    assert {unit for _, unit in units} == set(range(64)) - {poisons.POISONED}
    assert set(units.values()) == {1}
    assert json.loads((out / "run.json").read_text())["status"] == "failed"
    cure.touch()
    run()
    assert chain.status(out) == "complete"
    assert golden(out) == expected
    assert set(chain.recorded(out).values()) == {1}
    return message


def late(folder: Path, scheduler: str | None) -> None:
    """A block of the second pass that is left out: what only needs the first is done, what needs it does not begin."""
    folder.mkdir(parents=True, exist_ok=True)
    volume, cure, block = poisons.make_tall(folder / "tall.zarr"), folder / "late.cure", (poisons.FLAT,)
    cure.touch()
    expected = poisons.late_pipeline(cure, 0).run(volume, folder / "late-golden", workers=0, block=block, report=False)
    cure.unlink()
    labels = expected.outputs["objects"].values
    mark = int(labels[7 * poisons.FLAT : 8 * poisons.FLAT].max())  # of an object that begins there, so the 7th's alone
    pipe, out = poisons.late_pipeline(cure, mark), folder / "late"
    place = {"scheduler": scheduler} if scheduler else {"workers": 0}
    message = ""
    try:
        pipe.run(volume, out, block=block, report=False, **place)
    except BlockError as error:
        message = str(error)
    assert "stage pass-2, unit 7: map_block: the function" in message, message
    blocks = {stage["name"]: stage["blocks"] for stage in expected.record["stages"]}
    found = Counter(stage for stage, _ in chain.recorded(out))
    done = {name for name, count in found.items() if count == blocks[name]}
    assert found["pass-2"] == blocks["pass-2"] - 1
    assert done == {name for name in blocks if name.startswith(("pass-1", "objects.", "pyramid-bright"))}
    assert set(found) == done | {"pass-2"}, "a stage began that needs the block"
    assert json.loads((out / "run.json").read_text())["status"] == "failed"
    cure.touch()
    again = pipe.run(volume, out, block=block, report=False, **place)
    assert all(stage["computed"] == blocks[stage["name"]] for stage in again.record["stages"] if stage["name"] in done)
    for name in pipe.as_dict()["save"]:
        np.testing.assert_array_equal(again.outputs[name].values, expected.outputs[name].values)
    assert set(chain.recorded(out).values()) == {1}
    assert chain.leftovers(out) == []


def holding_the_gil(folder: Path, scheduler: str, expected: dict[str, str], seconds: int) -> None:
    """A block that holds the GIL for some seconds is waited for: nothing is left out, the result is golden."""
    out = folder / "gil"
    pipe = poisons.pipeline("gil", folder / "gil.cure", seconds)
    pipe.run(folder / "volume.zarr", out, scheduler=scheduler, block=(poisons.BLOCK,), report=False)
    assert golden(out) == expected
    assert set(chain.recorded(out).values()) == {1}


def full() -> Iterator[Row]:
    """Every kind on workers, the error in one process too, and 20 s of a held GIL; two on somebody else's cluster."""
    folder = fast_folder()

    def poison(kind: str, scheduler: str | None) -> str:
        shutil.rmtree(folder / kind, ignore_errors=True)
        (folder / f"{kind}.cure").unlink(missing_ok=True)
        return poisoned(folder, kind, scheduler, expected)

    try:
        expected = undisturbed(folder)
        with workers() as executor:
            scheduler = executor.client.scheduler.address
            for kind in poisons.KINDS:
                yield _row(f"a block: {kind}", lambda kind=kind: poison(kind, scheduler))
            yield _row("a block: GIL held 20 s", lambda: holding_the_gil(folder, scheduler, expected, 20))
            yield _row("a block of a late stage: what does not need it is done", lambda: late(folder, scheduler))
        yield _row("a block: error, one process", lambda: poison("error", None))
        for allowed in (None, 1):
            with foreign(allowed) as scheduler:
                for kind in ("segfault", "memory"):
                    what = f"a block: {kind}, somebody else's cluster that allows {allowed or 3} failures"
                    yield _row(what, lambda kind=kind: poison(kind, scheduler))
    finally:
        shutil.rmtree(folder)


def _row(what: str, check: Callable[[], str | None]) -> Row:
    try:
        note = check()
    except Exception as error:
        return Row("R13", what, 1, 0, f"{type(error).__name__}: {error}"[:300])
    return Row("R13", what, 1, 1, (note or "").split(":")[0])

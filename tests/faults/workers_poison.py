"""R13: a block that segfaults, takes all memory, sleeps for ever, raises, or holds the GIL; two workers.

Only that block is left out, after three tries; the other blocks of its stage are done and journalled, no stage that
needs it starts, the message names it; when its cause is mended the same command gives the golden result.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dask
import numpy as np
import zarr

from bigseg.engine.cluster import DaskExecutor, local_cluster
from bigseg.errors import BlockError
from bigseg.local.digest import digest
from tests.faults import chain, poisons
from tests.faults.driver import fast_folder
from tests.faults.run import Row

TESTS = ("R13",)
MEMORY = 768 << 20
"""Of a worker: 400 MiB are its own."""
ASLEEP_SECONDS = 4.0
"""After so long a block is taken for hung here; the others take a hundredth."""
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
        with dask.config.set({"bigseg.unit-seconds": ASLEEP_SECONDS if kind == "asleep" else 600}):
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


def holding_the_gil(folder: Path, scheduler: str, expected: dict[str, str], seconds: int) -> None:
    """A block that holds the GIL for some seconds is waited for: nothing is left out, the result is golden."""
    out = folder / "gil"
    pipe = poisons.pipeline("gil", folder / "gil.cure", seconds)
    pipe.run(folder / "volume.zarr", out, scheduler=scheduler, block=(poisons.BLOCK,), report=False)
    assert golden(out) == expected
    assert set(chain.recorded(out).values()) == {1}


def full() -> list[Row]:
    """Every kind on workers, the error in one process too, and 20 s of a held GIL."""
    folder = fast_folder()
    rows = []
    try:
        expected = undisturbed(folder)
        with workers() as executor:
            scheduler = executor.client.scheduler.address
            for kind in poisons.KINDS:
                rows.append(_row(f"a block: {kind}", lambda kind=kind: poisoned(folder, kind, scheduler, expected)))
            rows.append(_row("a block: GIL held 20 s", lambda: holding_the_gil(folder, scheduler, expected, 20)))
    finally:
        shutil.rmtree(folder)
    return rows


def _row(what: str, check: object) -> Row:
    try:
        note = check()  # type: ignore[operator]
    except Exception as error:
        return Row("R13", what, 1, 0, f"{type(error).__name__}: {error}")
    return Row("R13", what, 1, 1, (note or "").split(":")[0])

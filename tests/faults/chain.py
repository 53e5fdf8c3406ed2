"""The run that the fault tests kill, and what must hold of its folder before and after.

``python -m tests.faults.chain VOLUME OUT [--workers N] [--block B] [--kill WHERE]`` runs the chain gaussian ->
auto_threshold -> hysteresis -> label -> regions, or continues it. WHERE kills the process and all its workers:

- ``begin:STAGE``, ``end:STAGE``: when a stage begins, or when its last unit is journalled, but not yet its end;
- ``stop:STAGE``: not a kill, but SIGSTOP in the middle of a stage;
- ``before:CALL:N``, ``after:CALL:N``: around the N-th call of a function of the system, as ``os.replace``;
- ``point:NAME:N``: when a named point of the code is passed for the N-th time.

The hooks are put on from here: an observer given to the run, a function of the standard library replaced, or a point
armed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from scipy import ndimage

from bigseg.engine.journal import read_lines
from bigseg.engine.run import Observer, Summary
from bigseg.local.digest import digest
from bigseg.pipeline.pipeline import Pipeline
from bigseg.storage import faultpoints
from tests.volumes import store

PIPELINE: dict[str, Any] = {
    "version": 1,
    "steps": [
        {"id": "smooth", "op": "gaussian", "sigma": 1.0},
        {"id": "levels", "op": "auto_threshold", "method": "multi_otsu", "from": "smooth"},
        {
            "id": "bright",
            "op": "hysteresis",
            "from": "smooth",
            "low": "${levels.multi_otsu_1}",
            "high": "${levels.multi_otsu_2}",
            "connectivity": 3,
            "min_size": 5,
        },
        {"id": "objects", "op": "label", "connectivity": 2},
        {"id": "regions", "op": "regions", "intensity": "input"},
    ],
    "save": ["bright", "objects"],
}
OUTPUTS = ("bright", "objects")
READY = "the run is on"
"""Printed when the first stage begins: from here on a parent may kill at random."""


def say(text: str) -> None:
    """A line on standard output in one piece, whatever other processes write there."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def make_volume(path: Path, shape: Sequence[int], chunk: int = 32) -> Path:
    """A uint8 volume of bright blobs of 5 to 15 voxels that cross the blocks, most of it dark."""
    coarse = np.random.default_rng(20).standard_normal([n // 6 + 3 for n in shape])
    smooth = ndimage.zoom(coarse, 6, order=1)[tuple(slice(0, n) for n in shape)]
    return store(path, (255 * (smooth / smooth.max()).clip(0, 1) ** 2).astype(np.uint8), (chunk,) * len(shape))


def run(
    volume: Path,
    out: Path,
    workers: int,
    block: int,
    observe: Observer = lambda summary, done, units: None,
    restart: bool = False,
    report: bool = False,
) -> dict[str, Any]:
    """Run the chain, or continue it; gives back run.json."""
    done = Pipeline.from_dict(PIPELINE).run(
        volume,
        out,
        workers=workers,
        block=(block,),
        memory=2 << 30,
        report=report,
        observe=observe,
        restart=restart,
    )
    return done.record


def kill_group() -> None:
    """End this process and its workers as the kernel does when memory is out."""
    forget_semaphores(os.getpid())
    os.killpg(os.getpgid(0), signal.SIGKILL)


def forget_semaphores(process: int) -> None:
    """Unlink a process's named semaphores, which nobody would after its whole group is killed."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/maps").read_text().splitlines():
            if "/dev/shm/sem.mp-" in line:
                Path(line.split()[-1]).unlink(missing_ok=True)


def killer(where: str) -> Observer:
    """Install what kills at a point; gives back the observer for the run."""
    kind, _, rest = where.partition(":")
    if kind in ("before", "after"):
        name, _, number = rest.rpartition(":")
        _kill_around(name, int(number), kind == "before")
        return lambda summary, done, units: None

    if kind == "point":
        faultpoints.arm(f"{rest}:group")
        return lambda summary, done, units: None

    begun = False

    def observe(summary: Summary, done: int, units: int) -> None:
        nonlocal begun
        if summary.name == rest and not begun and done < units:
            begun = True
            if kind == "begin":
                kill_group()
        if summary.name == rest and begun and done == units and kind == "end":
            kill_group()
        if summary.name == rest and done == units // 2 and kind == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)

    return observe


def _kill_around(name: str, number: int, before: bool) -> None:
    """Replace a function of the standard library by one that kills around its N-th call."""
    module, _, attribute = name.rpartition(".")
    home = importlib.import_module(module)
    original: Callable[..., Any] = getattr(home, attribute)
    calls = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if before and calls == number:
            kill_group()
        result = original(*args, **kwargs)
        if not before and calls == number:
            kill_group()
        return result

    setattr(home, attribute, counted)


def golden(out: Path) -> dict[str, str]:
    """Digests of what a finished run holds: every level of every image, decoded, and the rows of every table."""
    found = {}
    for name in OUTPUTS:
        group = zarr.open_group(out / f"{name}.ome.zarr", mode="r")
        for level in sorted(group.array_keys()):
            found[f"{name} level {level}"] = digest(np.asarray(group[level][...]))
    for path in sorted((out / "tables").glob("*.parquet")):
        table = pd.read_parquet(path)
        found[f"table {path.stem}"] = " ".join(
            f"{column}:{digest(table[column].to_numpy())}" for column in sorted(table.columns)
        )
    return found


def recorded(out: Path) -> Counter[tuple[str, int]]:
    """How often each unit stands in the journal."""
    journal = out / "journal" / "journal.jsonl"
    if not journal.exists():
        return Counter()
    return Counter((line["s"], line["u"]) for _, line in read_lines(journal) if "f" in line)


def ended(out: Path) -> set[str]:
    """Stages whose end stands in the journal."""
    journal = out / "journal" / "journal.jsonl"
    return {line["s"] for _, line in read_lines(journal) if "end" in line} if journal.exists() else set()


def status(out: Path) -> str:
    """Of the run; ``none`` before its first record."""
    path = out / "run.json"
    return str(json.loads(path.read_text())["status"]) if path.exists() else "none"


def unrecorded(out: Path) -> int:
    """Files of finished units that are not in the journal: what a kill makes the next start compute again."""
    journal = out / "journal" / "journal.jsonl"
    lines = [line for _, line in read_lines(journal) if "f" in line] if journal.exists() else []
    named = {name for line in lines for name, _, _ in line["f"]}
    parts = [path for path in (out / "scratch").rglob("*.part") if ".merge" not in path.parts[-3]]
    shards = [path for name in OUTPUTS for path in (out / f"{name}.ome.zarr").glob("[0-9]/c/*/*/*")]
    return sum(str(path.relative_to(out)) not in named for path in (*parts, *shards))


def leftovers(out: Path) -> list[str]:
    """What should not be there when a run is complete."""
    endings = (".tmp", ".partial", ".removed", ".clock")
    names = (os.path.join(parent, name) for parent, dirs, files in os.walk(out) for name in (*dirs, *files))
    return [name for name in names if name.endswith(endings) or os.path.basename(name) in ("scratch", "lock")]


def looks_complete(out: Path) -> list[str]:
    """Images that say they are complete."""
    found = []
    for name in OUTPUTS:
        path = out / f"{name}.ome.zarr" / "zarr.json"
        if path.exists() and json.loads(path.read_text())["attributes"]["bigseg"]["status"] == "complete":
            found.append(name)
    return found


def main(arguments: Sequence[str]) -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("volume", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--block", type=int, default=32)
    parser.add_argument("--kill", default="")
    parser.add_argument("--restart", action="store_true")
    parser.add_argument("--report", action="store_true")
    chosen = parser.parse_args(arguments)
    hook = killer(chosen.kill) if chosen.kill else None
    told = False

    def observe(summary: Summary, done: int, units: int) -> None:
        nonlocal told
        if not told:
            told = True
            say(READY)
        if hook is not None:
            hook(summary, done, units)

    run(chosen.volume, chosen.out, chosen.workers, chosen.block, observe, chosen.restart, chosen.report)


if __name__ == "__main__":
    main(sys.argv[1:])

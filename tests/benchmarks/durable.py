"""What durability costs: the hysteresis job as it is, and with durable writing and journalling off.

``python -m tests.benchmarks.durable [--size 512] [--workers 2] [--repeats 5] [--folder DIR] [--out DIR]``

Off means: fsync of files, folders and journal does nothing, no line is written, no CRC-32 of a shard and no digest of
a block is computed. Only this module can do that, by replacing functions in the driver and in every worker; bigseg has
no such switch. Both ways run in turns on one cluster, store to store, in a folder that must lie on a real disk. The
bound: 10 % of the run's time, of the medians.
"""

from __future__ import annotations

import importlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bigseg.engine import work
from bigseg.engine.cluster.starting import local_cluster
from bigseg.engine.journal import Journal
from bigseg.pipeline.pipeline import Pipeline
from bigseg.storage import blocks

from . import page
from .ours import PIPELINES
from .volume import prepare

MOST = 0.10
_REAL: dict[str, Callable[..., Any]] = {
    "fsync": os.fsync,
    "crc": blocks.crc32_file,
    "digest": work.digest,
    "append": Journal.append,
    "flush": Journal.flush,
}


def switch(on: bool) -> None:
    """Durable writing and journalling of this process, on or off."""
    os.fsync = _REAL["fsync"] if on else lambda handle: None
    blocks.crc32_file = _REAL["crc"] if on else lambda path: (os.path.getsize(path), 0)
    work.digest = _REAL["digest"] if on else lambda array: "0" * 15 + "1"
    Journal.append = _REAL["append"] if on else lambda self, record: None  # type: ignore[method-assign]
    Journal.flush = _REAL["flush"] if on else lambda self: None  # type: ignore[method-assign]


def measure(folder: Path, size: int, workers: int, repeats: int) -> dict[str, Any]:
    """Seconds of every run, by how it was run; the first turn of each does not count."""
    own = importlib.import_module("tests.benchmarks.durable")  # by its name, for workers cannot know a __main__
    volume = prepare(folder, size)
    steps = [{**step, "low": volume.low, "high": volume.high} for step in PIPELINES["hysteresis"]["steps"]]
    pipeline = Pipeline.from_dict({"version": 1, "steps": steps, "save": ["mask"]})
    seconds: dict[str, list[float]] = {"on": [], "off": []}
    cluster = local_cluster(workers, 2 << 30)
    stages: dict[str, Any] = {}
    place = Path(tempfile.mkdtemp(prefix="durable-", dir=folder))
    try:
        settings = {"scheduler": cluster.client.scheduler.address, "memory": 2 << 30, "report": False}
        for turn in range(repeats + 1):
            for name in ("on", "off") if turn % 2 else ("off", "on"):
                own.switch(name == "on")
                cluster.client.run(own.switch, name == "on")
                os.sync()  # neither pays for what the other has left in memory
                began = time.perf_counter()
                run = pipeline.run(volume.path, place / f"{name}-{turn}", **settings)
                if turn:
                    seconds[name].append(round(time.perf_counter() - began, 3))
                stages[name] = {stage["name"]: stage["seconds"] for stage in run.record["stages"]}
                shutil.rmtree(place / f"{name}-{turn}")
    finally:
        own.switch(True)
        cluster.close()
        shutil.rmtree(place, ignore_errors=True)
    on, off = (statistics.median(seconds[name]) for name in ("on", "off"))
    return {"size": size, "workers": workers, "seconds": seconds, "stages": stages, "cost": round(on / off - 1, 4)}


def render(record: Mapping[str, Any]) -> str:
    """The page."""
    found = record["found"]
    rows = [
        (name, f"{statistics.median(times):.2f}", " ".join(f"{item:.2f}" for item in times))
        for name, times in found["seconds"].items()
    ]
    size = found["size"]
    lines = [
        f"# What durability costs: hysteresis, {size}^3, {found['workers']} workers",
        "",
        page.circumstances(record),
        "",
        "fsync, the journal, CRC-32 of every shard and digests of every block, on and off in turns; pyramids included.",
        "",
        *page.table(("durable", "median, s", "runs, s"), rows),
        "",
        f"Cost: {100 * found['cost']:.1f} % of the time without; the bound is {100 * MOST:.0f} %: "
        + ("held." if found["cost"] <= MOST else "**not held**."),
        "",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a program; the exit status says whether the bound held."""
    parser = page.command_line("durable", __doc__)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "bigseg-benchmarks",
        help="of the volume and the runs, on a real disk",
    )
    chosen = parser.parse_args(arguments)
    record = page.begun("durable", arguments)
    record["found"] = measure(chosen.folder, chosen.size, chosen.workers, chosen.repeats)
    page.write(chosen.out, "DURABLE", record, render)
    print(render(record))
    return 0 if record["found"]["cost"] <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())

"""The hardest case for components: random voxels above 0.8, 6 neighbours, counted in a generated volume.

Of 5120^3 voxels dask-image's graph cannot be built (dask-image#391): 1.3e11 voxels, 1e10 objects. Here two workers of
2 GiB count them; `python -m tests.benchmarks.streaming_count 1024` counts a smaller one another way.

    python -m tests.benchmarks.noise 1024
    python -m tests.benchmarks.noise 5120 --block 512 --memory 3221225472        (eleven minutes)
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path

import psutil

from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.steps import Step

from .measure import tree_rss
from .page import begun


def run(side: int, block: int, memory: int, work: Path) -> dict[str, object]:
    """Count once; the peak of all processes together is looked up at every finished block."""
    import bigseg

    steps = [Step("bright", bigseg.Threshold(above=0.8)), Step("count", bigseg.CountObjects(connectivity=1))]
    out = work / f"noise-{side}"
    shutil.rmtree(out, ignore_errors=True)
    us, peak = psutil.Process(), 0

    def watch(summary: object, done: int, units: int) -> None:
        nonlocal peak
        peak = max(peak, tree_rss(us))

    began = time.perf_counter()
    found = Pipeline(steps).run(
        f"phantom:random,shape={side},dtype=float32",
        out,
        block=(block,),
        workers=2,
        memory=memory,
        report=False,
        observe=watch,
    )
    seconds = time.perf_counter() - began
    record = found.record
    shutil.rmtree(out)
    return {
        "side": side,
        "block": block,
        "objects": record["values"]["count"]["objects"],
        "seconds": round(seconds, 1),
        "ns a voxel": round(seconds / side**3 * 1e9, 2),
        "worker peak MiB": max(stage["memory_peak"] for stage in record["stages"]) >> 20,
        "worker planned MiB": max(stage["memory_planned"] for stage in record["stages"]) >> 20,
        "driver peak MiB": record["driver_memory_peak"] >> 20,
        "all processes MiB": peak >> 20,
        "scratch MiB": sum(stage["bytes_written"] for stage in record["stages"]) >> 20,
        "stages": {stage["name"]: stage["seconds"] for stage in record["stages"]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sides", type=int, nargs="+")
    parser.add_argument("--block", type=int, default=256)
    parser.add_argument("--memory", type=int, default=2 << 30, help="of a worker, in bytes")
    parser.add_argument("--work", type=Path, default=Path("/tmp"))
    arguments = parser.parse_args()
    print(json.dumps(begun("noise", None)))
    for side in arguments.sides:
        print(json.dumps(run(side, arguments.block, arguments.memory, arguments.work)), flush=True)


if __name__ == "__main__":
    main()

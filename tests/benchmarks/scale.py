"""A chain without a stored volume on phantoms of growing size: time a voxel, memory against plan.

``python -m tests.benchmarks.scale [--sizes 512,2048] [--block 256] [--out DIR]`` runs background -> gaussian ->
hysteresis -> remove_small -> regions on a phantom of voids (uint16, noise 8), computed where it is read, with two
workers of 1 GiB, and writes SCALE.md and SCALE.json. The claims: every peak below its plan; the time a voxel within
15 % of the smallest volume's.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bigseg.pipeline.pipeline import Pipeline

from .run import machine

MIB = 1 << 20
GOAL = 1.15
PIPELINE = {
    "version": 1,
    "steps": [
        {"id": "flat", "op": "subtract_background", "method": "gaussian", "sigma": 8.0},
        {"id": "smooth", "op": "gaussian", "sigma": 1.0},
        {"id": "voids", "op": "hysteresis", "polarity": "below", "low": -30.0, "high": -15.0},
        {"id": "clean", "op": "remove_small", "min_size": 27},
        {"id": "objects", "op": "label"},
        {"id": "regions", "op": "regions"},
    ],
    "save": [],
}


def measure(size: int, block: int) -> dict[str, Any]:
    """One run on a fresh cluster; the second of two for small volumes, so that start and compilation do not count."""
    from bigseg import phantom

    volume = phantom("voids", (size,) * 3, seed=7, noise=8.0)
    folder = Path(tempfile.mkdtemp(prefix="bigseg-scale-"))
    try:
        begin = time.perf_counter()
        run = Pipeline.from_dict(PIPELINE).run(
            volume, folder / "run", workers=2, memory=1 << 30, block=(block,) * 3, report=False
        )
        seconds = time.perf_counter() - begin
        stages = run.record["stages"]
        return {
            "size": size,
            "seconds": seconds,
            "stage_seconds": sum(stage["seconds"] for stage in stages),
            "objects": len(run.tables["regions"]),
            "block": run.record["block"],
            "stages": stages,
            "driver_memory_peak": run.record["driver_memory_peak"],
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def render(record: Mapping[str, Any]) -> str:
    """The page as Markdown."""
    runs = record["runs"]
    facts = record["machine"]
    lines = [
        "# Growing phantoms, nothing stored",
        "",
        f"`{record['command']}`, {record['began']}, {facts['cores']} x {facts['processor']}; two workers of 1 GiB; "
        "background (gaussian 8) -> gaussian 1 -> hysteresis -> remove_small -> regions. Seconds of all stages.",
        "",
        "| volume | block | objects | seconds | ns a voxel | to the smallest | peak / planned, MiB | driver, MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        each = run["stage_seconds"] / run["size"] ** 3 * 1e9
        first = runs[0]["stage_seconds"] / runs[0]["size"] ** 3 * 1e9
        worst = max(run["stages"], key=lambda stage: stage["memory_peak"] / stage["memory_planned"])
        lines.append(
            f"| {run['size']}^3 | {run['block'][0]} | {run['objects']:,} | {run['stage_seconds']:.1f} | {each:.1f} "
            f"| {each / first:.2f} | {worst['memory_peak'] / MIB:.0f} / {worst['memory_planned'] / MIB:.0f} "
            f"({worst['name']}) | {run['driver_memory_peak'] / MIB:.0f} |"
        )
    if runs:
        over = [r["size"] for r in runs for s in r["stages"] if s["memory_peak"] > s["memory_planned"]]
        rates = [r["stage_seconds"] / r["size"] ** 3 for r in runs]
        lines += [
            "",
            f"- Every peak below its plan: {'**no**, at ' + str(sorted(set(over))) if over else 'yes'}.",
            f"- Time a voxel within 15 %: {'yes' if max(rates) <= GOAL * min(rates) else '**no**'}.",
        ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default="512,2048")
    parser.add_argument("--block", type=int, default=256)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args(arguments)
    options = " ".join(arguments if arguments is not None else sys.argv[1:])
    record: dict[str, Any] = {
        "command": f"python -m tests.benchmarks.scale {options}".strip(),
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "runs": [],
    }
    given.out.mkdir(parents=True, exist_ok=True)
    for size in map(int, given.sizes.split(",")):
        record["runs"].append(measure(size, given.block))
        (given.out / "SCALE.json").write_text(json.dumps(record, indent=1) + "\n")
        (given.out / "SCALE.md").write_text(render(record))
    print(render(record))


if __name__ == "__main__":
    main()

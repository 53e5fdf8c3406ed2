"""A chain without a stored volume on phantoms of growing size: time a voxel, memory against plan.

``python -m tests.benchmarks.scale [--chain voids|objects] [--sizes 512,2048] [--block 256] [--work DIR] [--out DIR]``
runs background -> gaussian -> hysteresis -> remove_small -> regions on a phantom of voids (uint16, noise 8), computed
where it is read, with two workers of 1 GiB, and writes SCALE.md and SCALE.json; with ``--chain objects`` threshold ->
label -> regions alone, as SCALE-objects. Every size gets a cluster of its own, which has run the chain
on a phantom before the clock starts, so that both workers know every stage. The claims: every peak below its plan; time
a voxel the same within 15 %, and in no case longer than in a smaller volume; a worker's peak the same within 5 %.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bigseg import phantom
from bigseg.engine.cluster.starting import local_cluster
from bigseg.pipeline.pipeline import Pipeline

from .page import begun, command_line, write

MIB = 1 << 20
GOAL = 1.15
WORKERS, MEMORY = 2, 1 << 30
WARM = 512
"""Side of the phantom that comes first, twice, in blocks of a quarter of it: both workers meet the kernels and
libraries of every stage, those of reductions too, whose few tasks a small phantom gives to one of them."""
SMALL, SEVERAL = 512, 15
"""Sides up to which the median of so many runs is taken: they last a third of a second to three."""
VOIDS = {
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
OBJECTS = {
    "version": 1,
    "steps": [
        {"id": "dark", "op": "threshold", "below": 90.0},
        {"id": "objects", "op": "label", "connectivity": 3},
        {"id": "regions", "op": "regions", "intensity": "input"},
    ],
    "save": [],
}
CHAINS = {
    "voids": (VOIDS, "background (gaussian 8) -> gaussian 1 -> hysteresis -> remove_small -> regions"),
    "objects": (OBJECTS, "threshold -> label (26) -> regions with intensity"),
}


def measure(size: int, block: int, chain: str, work: Path) -> dict[str, Any]:
    """A run on a cluster of its own that is warm, as starting would make small volumes look slow; of these a median."""
    work.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bigseg-scale-", dir=work))
    cluster = local_cluster(WORKERS, MEMORY)
    settings = {"scheduler": cluster.client.scheduler.address, "memory": MEMORY, "report": False}
    try:
        pipeline = Pipeline.from_dict(CHAINS[chain][0])
        for turn in range(2):
            pipeline.run(_volume(WARM), folder / f"warm-{turn}", block=(WARM // 4,) * 3, **settings)
        Path("/proc/self/clear_refs").write_text("5")  # the driver's peak of this run alone
        turns = []
        for turn in range(1 if size > SMALL else SEVERAL):
            begin = time.perf_counter()
            run = pipeline.run(_volume(size), folder / f"run-{turn}", block=(block,) * 3, **settings)
            seconds = time.perf_counter() - begin
            turns.append((sum(stage["seconds"] for stage in run.record["stages"]), seconds, run))
        stage_seconds, seconds, run = sorted(turns, key=lambda turn: turn[0])[len(turns) // 2]
        stages = run.record["stages"]
        return {
            "size": size,
            "seconds": seconds,
            "stage_seconds": stage_seconds,
            "objects": run.values["objects"]["objects"],
            "block": run.record["block"],
            "stages": stages,
            "driver_memory_peak": run.record["driver_memory_peak"],
        }
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


def _volume(size: int) -> Any:
    """A phantom of a size."""
    return phantom("voids", (size,) * 3, seed=7, noise=8.0)


def render(record: Mapping[str, Any]) -> str:
    """The page as Markdown."""
    runs = record["runs"]
    facts = record["machine"]
    lines = [
        "# Growing phantoms, nothing stored",
        "",
        f"`{record['command']}`, {record['began']}, {facts['cores']} x {facts['processor']}; two workers of 1 GiB; "
        f"{CHAINS[record['chain']][1]}. Seconds of all stages, on a "
        f"cluster that has run the chain on {WARM}^3 in blocks of {WARM // 4} before.",
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
        worst = max((rate / min(rates[:k]) for k, rate in enumerate(rates) if k), default=1.0)
        spread = max(rates) / min(rates)
        lines += [
            "",
            f"- Every peak below its plan: {'**no**, at ' + str(sorted(set(over))) if over else 'yes'}.",
            f"- Time a voxel, longest / shortest: {spread:.3f}, goal <= {GOAL}: "
            f"{'yes' if spread <= GOAL else '**no**'}.",
            f"- No volume takes over 15 % longer a voxel than a smaller one: {'yes' if worst <= GOAL else '**no**'} "
            f"({worst:.2f}); the smallest pay for starting stages and may have fewer blocks than workers could share.",
            *_constant(runs),
        ]
    return "\n".join(lines) + "\n"


def _constant(runs: list[Mapping[str, Any]]) -> list[str]:
    """A worker's peak over the sizes, and the driver's growth."""
    if len(runs) < 2:
        return []
    peaks = [max(stage["memory_peak"] for stage in run["stages"]) for run in runs]
    blocks = [max(stage["blocks"] for stage in run["stages"]) for run in runs]
    growth = runs[-1]["driver_memory_peak"] - runs[0]["driver_memory_peak"]
    spread, later = max(peaks) / min(peaks), max(peaks[1:]) / min(peaks[1:])
    told = ", ".join(f"{peak / MIB:.0f}" for peak in peaks)
    return [
        f"- A worker's peak, {told} MiB, largest / smallest: {spread:.3f}, goal <= 1.05: "
        f"{'yes' if spread <= 1.05 else '**no**'}; {later:.3f} from {runs[1]['size']}^3 on: a smaller volume does not "
        "fill what is bounded (an interval's objects, the halo on both sides).",
        f"- The driver's resident memory grew by {growth / MIB:.0f} MiB over {blocks[-1] - blocks[0]:,} blocks; what a "
        "block leaves behind there is counted by tests/faults/test_driver_memory.py.",
    ]


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = command_line("scale", __doc__)
    parser.add_argument("--chain", choices=CHAINS, default="voids")
    parser.add_argument("--sizes", default="512,2048")
    parser.add_argument("--block", type=int, default=256)
    parser.add_argument("--work", type=Path, default=Path("/tmp/bench"))
    given = parser.parse_args(arguments)
    record: dict[str, Any] = {**begun("scale", arguments), "chain": given.chain, "runs": []}
    name = "SCALE" if given.chain == "voids" else f"SCALE-{given.chain}"
    for size in map(int, given.sizes.split(",")):
        record["runs"].append(measure(size, given.block, given.chain, given.work))
        write(given.out, name, record, render)
    print(render(record))


if __name__ == "__main__":
    main()

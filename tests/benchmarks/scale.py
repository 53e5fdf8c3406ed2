"""A chain without a stored volume on phantoms of growing size: time a voxel, memory against plan.

``python -m tests.benchmarks.scale [--chain voids|objects] [--sizes 512,2048] [--block 256] [--out DIR]`` runs
background -> gaussian -> hysteresis -> remove_small -> regions on a phantom of voids (uint16, noise 8), computed where
it is read, with two workers of 1 GiB, and writes SCALE.md and SCALE.json; with ``--chain objects`` threshold ->
label -> regions alone, as SCALE-objects. Every size gets a cluster of its own, which has run the chain
on a small phantom before the clock starts. The claims: every peak below its plan; no volume
takes over 15 % longer a voxel than a smaller one.
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
WARM = 128
"""Side of the phantom that comes first; in blocks of half of it, so that both workers meet every stage's kernels."""
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


def measure(size: int, block: int, chain: str) -> dict[str, Any]:
    """One run on a warm cluster of its own: starting and compiling would make small volumes look slow."""
    folder = Path(tempfile.mkdtemp(prefix="bigseg-scale-"))
    cluster = local_cluster(WORKERS, MEMORY)
    settings = {"scheduler": cluster.client.scheduler.address, "memory": MEMORY, "report": False}
    try:
        pipeline = Pipeline.from_dict(CHAINS[chain][0])
        pipeline.run(_volume(WARM), folder / "warm", block=(WARM // 2,) * 3, **settings)
        Path("/proc/self/clear_refs").write_text("5")  # the driver's peak of this run alone
        begin = time.perf_counter()
        run = pipeline.run(_volume(size), folder / "run", block=(block,) * 3, **settings)
        seconds = time.perf_counter() - begin
        stages = run.record["stages"]
        return {
            "size": size,
            "seconds": seconds,
            "stage_seconds": sum(stage["seconds"] for stage in stages),
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
        f"cluster that has run the chain on {WARM}^3 before.",
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
        lines += [
            "",
            f"- Every peak below its plan: {'**no**, at ' + str(sorted(set(over))) if over else 'yes'}.",
            *_constant(runs),
            f"- No volume takes over 15 % longer a voxel than a smaller one: {'yes' if worst <= GOAL else '**no**'} "
            f"({worst:.2f}); the smallest pay for starting stages and have fewer blocks than workers could share.",
        ]
    return "\n".join(lines) + "\n"


def _constant(runs: list[Mapping[str, Any]]) -> list[str]:
    """A worker's peak over the sizes that have more than one block to a worker, and the driver's growth."""
    many = [run for run in runs if run["size"] >= 2 * run["block"][0]]
    if len(many) < 2:
        return []
    peaks = [max(stage["memory_peak"] for stage in run["stages"]) for run in many]
    blocks = [max(stage["blocks"] for stage in run["stages"]) for run in many]
    growth = many[-1]["driver_memory_peak"] - many[0]["driver_memory_peak"]
    spread = max(peaks) / min(peaks)
    return [
        f"- A worker's peak the same within 5 %: {'yes' if spread <= 1.05 else '**no**'} ({spread:.3f}; from "
        f"{many[0]['size']}^3 on).",
        f"- The driver's resident memory grew by {growth / MIB:.0f} MiB over {blocks[-1] - blocks[0]:,} blocks; what a "
        "block leaves behind there is counted by tests/faults/test_driver_memory.py.",
    ]


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = command_line("scale", __doc__)
    parser.add_argument("--chain", choices=CHAINS, default="voids")
    parser.add_argument("--sizes", default="512,2048")
    parser.add_argument("--block", type=int, default=256)
    given = parser.parse_args(arguments)
    record: dict[str, Any] = {**begun("scale", arguments), "chain": given.chain, "runs": []}
    name = "SCALE" if given.chain == "voids" else f"SCALE-{given.chain}"
    for size in map(int, given.sizes.split(",")):
        record["runs"].append(measure(size, given.block, given.chain))
        write(given.out, name, record, render)
    print(render(record))


if __name__ == "__main__":
    main()

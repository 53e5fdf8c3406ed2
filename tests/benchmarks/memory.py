"""Peak memory of bigseg's workers and driver on 256^3, 512^3 and 1024^3, with two workers of 1 GiB.

``python -m tests.benchmarks.memory [--sizes 256,512,1024] [--work DIR]`` runs the chain once on each
volume, on a fresh cluster, and writes MEMORY.md and MEMORY.json: of every stage the memory planned and the
highest peak of a worker (from run.json), and the driver's peak. The claims: no peak above its plan; a
worker's peak the same at all sizes within 5 %. (The driver's growth a block needs more blocks than this.)
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .jobs import JOBS, Task
from .measure import run_process
from .page import begun, command_line, write
from .volume import prepare

MIB = 2**20
WORKER_BYTES = 1 << 30
SPREAD = 1.05
BLOCK = 128  # the same for all sizes; left to the plan, small volumes get smaller blocks


def measure(size: int, work: Path, block: int) -> dict[str, Any]:
    """One chain on a fresh cluster; its stages and the driver's peak as run.json has them."""
    task = Task.of(JOBS["chain"], prepare(work, size), out="", memory=WORKER_BYTES, again=False, block=block)
    command = [sys.executable, "-m", "tests.benchmarks.ours"]
    result = run_process(command, task.json(), work, timeout=3600)
    return {"size": size, **result}


def render(record: Mapping[str, Any]) -> str:
    """The page as Markdown."""
    runs = [run for run in record["runs"] if "error" not in run]
    lines = [
        "# Memory: the chain with two workers of 1 GiB",
        "",
        f"`{record['command']}`, {record['began']}, {record['machine']['cores']} x {record['machine']['processor']}. "
        "Resident memory, highest of all workers; planned: what the plan stated before the run.",
        "",
        *_claims(runs),
        "",
        "| volume | block | stage | blocks | planned, MiB | peak, MiB | peak / planned |",
        "|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        for stage in run["stages"]:
            planned, peak = stage["memory_planned"], stage["memory_peak"]
            share = f"{peak / planned:.2f}" if planned else ""
            lines.append(
                f"| {run['size']}^3 | {run['block']} | {stage['name']} | {stage['blocks']} "
                f"| {planned / MIB:.0f} | {peak / MIB:.0f} | {share} |"
            )
        lines.append(f"| {run['size']}^3 | | driver | | | {run['driver_memory_peak'] / MIB:.0f} | |")
    for run in record["runs"]:
        if "error" in run:
            lines += ["", f"{run['size']}^3 failed: {run['error']}"]
    return "\n".join(lines) + "\n"


def worker_peak(run: Mapping[str, Any]) -> int:
    """Highest resident bytes of a worker in any stage."""
    return max(int(stage["memory_peak"]) for stage in run["stages"])


def _claims(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    if not runs:
        return ["Nothing was measured."]
    over = [
        f"{stage['name']} at {run['size']}^3"
        for run in runs
        for stage in run["stages"]
        if stage["memory_peak"] > stage["memory_planned"]
    ]
    peaks = [worker_peak(run) for run in runs]
    spread = max(peaks) / min(peaks)
    listed = ", ".join(f"{peak / MIB:.0f}" for peak in peaks)
    lines = [
        f"- Every peak below its plan: {'**no**: ' + ', '.join(over) if over else 'yes'}.",
        f"- A worker's peak, {listed} MiB: largest / smallest {spread:.3f}, goal "
        f"<= {SPREAD}: {'yes' if spread <= SPREAD else '**no**'}.",
    ]
    drivers = ", ".join(f"{run['driver_memory_peak'] / MIB:.0f}" for run in runs)
    lines.append(f"- The driver's peak, its scheduler and imports included: {drivers} MiB.")
    servers = ", ".join("{resident:.0f} ({share:.0f})".format(**_mib(run["server_memory"])) for run in runs)
    lines.append(
        f"- The process that workers are forks of, beside them: {servers} MiB resident, in brackets its share where "
        "pages are those of the workers too."
    )
    return lines


def _mib(found: Mapping[str, int]) -> dict[str, float]:
    return {name: size / MIB for name, size in found.items()}


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = command_line("memory", __doc__)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "bigseg-benchmarks")
    parser.add_argument("--sizes", default="256,512,1024")
    parser.add_argument("--block", type=int, default=BLOCK, help="voxels an axis, the same for all sizes")
    given = parser.parse_args(arguments)
    record: dict[str, Any] = {**begun("memory", arguments), "runs": []}
    for size in map(int, given.sizes.split(",")):
        record["runs"].append(measure(size, given.work.resolve(), given.block))
        write(given.out, "MEMORY", record, render)
    print((given.out / "MEMORY.md").read_text())


if __name__ == "__main__":
    main()

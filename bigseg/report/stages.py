"""Where the time and the memory of a run went, stage by stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from bigseg.report import wording


@dataclass(frozen=True)
class StageRow:
    """One stage as a line of the table.

    Parameters
    ----------
    name, kind, what : as the plan calls it.
    blocks : computed, and how many were found finished.
    time, rate, read, written : texts.
    share : of the longest stage's time, in percent, for the bar.
    peak, planned : texts; ``""`` where not measured.
    peak_share, planned_share : of the widest memory bar, in percent.
    over : whether more memory was used than planned.
    """

    name: str
    kind: str
    what: str
    blocks: str
    time: str
    rate: str
    read: str
    written: str
    share: float
    peak: str
    planned: str
    peak_share: float
    planned_share: float
    over: bool


@dataclass(frozen=True)
class Account:
    """All stages of a run, and the sums over them."""

    rows: list[StageRow]
    facts: list[tuple[str, str, str]]
    note: str


def account_of(record: Mapping[str, Any]) -> Account:
    """Times, rates, bytes and memory of a run's stages."""
    stages = record.get("stages", [])
    longest = max((stage["seconds"] for stage in stages), default=0.0)
    memory = max(
        (max(stage["memory_planned"], stage["memory_peak"]) for stage in stages),
        default=0,
    )
    rows = [_row(stage, longest, memory) for stage in stages]
    total = sum(stage["seconds"] for stage in stages)
    voxels = prod(record["volume"]["shape"])
    facts = []
    if "seconds" in record:
        facts.append(("wall time", wording.seconds(record["seconds"]), f"{wording.seconds(total)} in the stages"))
    if total:
        facts.append(("rate", f"{wording.rate(voxels / total / 1e6)} Mvoxel/s", "through all stages"))
    for name in ("read", "written"):
        count = sum(stage[f"bytes_{name}"] for stage in stages)
        facts.append((name, wording.size(count), f"{wording.number(count / voxels, 3)} bytes a voxel"))
    peak, planned = memory_of(record)
    if peak:
        facts.append(("worker's memory", wording.size(peak), f"{wording.size(planned)} planned"))
    if record.get("driver_memory_peak"):
        facts.append(("driver's memory", wording.size(record["driver_memory_peak"]), "at most"))
    starts = int(record.get("starts", 1))
    note = (
        f"The run was started {starts} times. Times count the last start of each stage; what earlier starts had "
        "finished was not computed again."
        if starts > 1
        else ""
    )
    return Account(rows, facts, note)


def memory_of(record: Mapping[str, Any]) -> tuple[int, int]:
    """Most bytes that a worker used, and most that were planned."""
    stages = record.get("stages", [])
    used = max((stage["memory_peak"] for stage in stages), default=0)
    return used, max((stage["memory_planned"] for stage in stages), default=0)


def _row(stage: Mapping[str, Any], longest: float, memory: int) -> StageRow:
    took, computed, blocks = stage["seconds"], stage["computed"], stage["blocks"]
    voxels = stage["voxels"] * computed / max(1, blocks)
    peak, planned = stage["memory_peak"], stage["memory_planned"]
    return StageRow(
        stage["name"],
        stage["kind"],
        stage["what"],
        f"{blocks:,}" if computed in (0, blocks) else f"{computed:,} of {blocks:,}",
        wording.seconds(took),
        wording.rate(voxels / took / 1e6) if took and voxels else "",
        wording.size(stage["bytes_read"]) if stage["bytes_read"] else "",
        wording.size(stage["bytes_written"]) if stage["bytes_written"] else "",
        100 * took / longest if longest else 0.0,
        wording.size(peak) if peak else "",
        wording.size(planned) if planned else "",
        100 * peak / memory if memory else 0.0,
        100 * planned / memory if memory else 0.0,
        bool(planned and peak > planned),
    )

"""What commands print: plans, runs and volumes as plain facts for machines, and as tables for people."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from bigseg.engine.folder import RunFolder
from bigseg.engine.journal import read_lines
from bigseg.engine.lock import STALE, machine
from bigseg.engine.plan import Plan
from bigseg.errors import CorruptChunkError, OutputError
from bigseg.pipeline.ingest import work_folder
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.planning import Resources
from bigseg.report.wording import by, number, seconds, size
from bigseg.storage.chunks import missing_chunks, missing_in_shards
from bigseg.storage.sources.opening import Origin
from bigseg.storage.volume import Volume

PLAIN_WIDTH = 130
"""Columns of a table that does not go to a terminal: nothing is cut or folded."""


def console() -> Console:
    """Standard output; wide where nobody's window is to be fitted."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


def plan_facts(plan: Plan, pipeline: Pipeline, resources: Resources) -> dict[str, Any]:
    """A plan as a document."""
    return {
        "shape": list(plan.grid.shape),
        "block": list(plan.grid.block),
        "blocks": len(plan.grid),
        "brick": list(plan.brick),
        "workers": resources.workers,
        "memory_a_worker": resources.memory,
        "memory_needed": plan.memory,
        "cache": plan.limits.cache,
        "bytes_read": sum(stage.reads for stage in plan.stages),
        "bytes_written": sum(stage.writes for stage in plan.stages),
        "stages": [
            {
                "number": number,
                "name": stage.name,
                "kind": stage.kind,
                "what": stage.what,
                "blocks": stage.units,
                "tasks": len(stage.order),
                "bytes_read": stage.reads,
                "decode": round(stage.decode, 3),
                "bytes_written": stage.writes,
                "memory": stage.memory,
            }
            for number, stage in enumerate(plan.stages, start=1)
        ],
        "stored": [{"step": name, "why": why} for name, why in plan.stored],
        "computed": computed(plan, pipeline),
    }


def computed(plan: Plan, pipeline: Pipeline) -> list[dict[str, Any]]:
    """Parameters whose values are found during the run, and in which stage."""
    numbers = {stage.name: number for number, stage in enumerate(plan.stages, start=1)}
    return [
        {"parameter": f"{step.id}.{name}", "value": f"{source}.{key}", "stage": numbers.get(source)}
        for step in pipeline.steps
        for name, source, key in step.op.references()
    ]


def plan_table(plan: Plan, pipeline: Pipeline, resources: Resources) -> None:
    """Print a plan."""
    grid, worst = plan.grid, plan.worst
    out = console()
    brick = f", {prod(plan.brick)} neighbours to a task" if prod(plan.brick) > 1 else ""
    out.print(f"volume    {by(grid.shape)} in {len(grid)} blocks of {by(grid.block)}{brick}")
    out.print(
        f"workers   {resources.workers}, each with {size(resources.memory)}; needed are {size(plan.memory)} "
        f"(stage {worst.name}), with {size(plan.limits.cache)} of cache for decoded chunks"
    )
    table = Table(box=None, header_style="bold", padding=(0, 1), pad_edge=False)
    for name in ("", "stage", "blocks", "tasks", "read", "decoded", "written", "memory"):
        table.add_column(name, justify="left" if name == "stage" else "right", no_wrap=True)
    table.add_column("what it does", overflow="fold")
    for number, stage in enumerate(plan.stages, start=1):
        table.add_row(
            str(number),
            stage.name,
            str(stage.units),
            str(len(stage.order)),
            size(stage.reads) if stage.reads else "",
            f"{stage.decode:.2f} x" if stage.reads else "",
            size(stage.writes) if stage.writes else "",
            size(stage.memory),
            stage.what,
        )
    out.print(table)
    for name, why in plan.stored:
        out.print(f"stored    {name}: {why}", markup=False)
    for item in computed(plan, pipeline):
        out.print(f"computed  {item['parameter']} = {item['value']}, in stage {item['stage']}", markup=False)


def run_summary(folder: Path, record: Mapping[str, Any]) -> str:
    """A finished run in a few lines: values, objects, where everything lies."""
    lines = [f"{folder}: complete in {seconds(record['seconds'])} on {record.get('where', 'this machine')}"]
    lines += [f"values    {text}" for text in _values(record.get("values", {}))]
    lines += [f"volume    {folder / name}.ome.zarr" for name in record["saved"]]
    for path in sorted((folder / "tables").glob("*.parquet")):
        lines.append(f"table     {path}: {rows(path)} rows")
    stages = record["stages"]
    peak = max((stage["memory_peak"] for stage in stages), default=0)
    planned = max((stage["memory_planned"] for stage in stages), default=0)
    lines.append(f"memory    {size(peak)} at most in a worker, {size(planned)} were planned")
    if (folder / "report.html").exists():
        lines.append(f"report    {folder / 'report.html'}")
    return "\n".join(lines)


def _values(values: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        f"{step}: " + ", ".join(f"{key} {number(value)}" for key, value in found.items())
        for step, found in values.items()
    ]


def rows(path: Path) -> int:
    """Rows of a Parquet file, from its metadata."""
    from pyarrow import parquet

    return int(parquet.read_metadata(path).num_rows)


def status_facts(folder: Path) -> dict[str, Any]:
    """Where a run or an ingest is, without disturbing it: the lock is not needed.

    Raises
    ------
    OutputError
        When there is no run.
    """
    run = RunFolder(folder)
    if run.read() is None and work_folder(folder).is_dir():
        run = RunFolder(work_folder(folder))
    record = run.read()
    if record is None:
        raise OutputError(f"{folder} holds no run (no run.json): expected a folder made by `bigseg run`")
    status, owner = record["status"], holder(run.lock)
    done: dict[str, set[int]] = {}
    if status != "complete":
        done = _finished(run.journal)
    stages = [
        {
            "name": stage["name"],
            "done": stage["blocks"] if status == "complete" else len(done.get(stage["name"], ())),
            "blocks": stage["blocks"],
        }
        for stage in record.get("stages", [])
    ]
    return {
        "folder": str(folder),
        "status": status,
        "running": owner is not None and status != "complete",
        "holder": owner,
        "began": record.get("began"),
        "ended": record.get("ended"),
        "starts": record.get("starts"),
        "blocks_done": sum(stage["done"] for stage in stages),
        "blocks": sum(stage["blocks"] for stage in stages),
        "stages": stages,
        "values": record.get("values", {}),
        "error": record.get("error") if status == "failed" else None,
        "to_do": _to_do(folder, status, owner),
    }


def _finished(journal: Path) -> dict[str, set[int]]:
    """Units of each stage in the journal; a line that its writer is just adding may look damaged."""
    found: dict[str, set[int]] = {}
    try:
        for _, line in read_lines(journal):
            if "u" in line:
                found.setdefault(line["s"], set()).add(line["u"])
    except (CorruptChunkError, OSError):
        pass
    return found


def holder(lock: Path) -> dict[str, Any] | None:
    """Who holds a folder's lock, judged from outside; None where nobody alive does."""
    try:
        owner: dict[str, Any] = json.loads(lock.read_text())
        silence = time.time() - lock.stat().st_mtime
    except (OSError, ValueError):
        return None
    if owner.get("machine") != machine():
        return owner if silence < STALE else None
    try:
        alive = abs(psutil.Process(owner["pid"]).create_time() - owner["started"]) < 2
    except psutil.Error:
        return None
    return owner if alive else None


def _to_do(folder: Path, status: str, owner: Mapping[str, Any] | None) -> str:
    if status == "complete":
        return f"nothing; look at {folder / 'report.html'}" if (folder / "report.html").exists() else "nothing"
    if owner is not None:
        return f"wait: process {owner.get('pid')} on {owner.get('host')} is at it"
    cause = "mend the cause, then run" if status == "failed" else "run"
    return f"{cause} the same command again: finished blocks are kept"


def status_lines(facts: Mapping[str, Any]) -> str:
    """The same for people."""
    state = facts["status"] + (", running" if facts["running"] else "")
    share = f", {facts['blocks_done']} of {facts['blocks']} blocks done" if facts["blocks"] else ""
    lines = [f"{facts['folder']}: {state}{share}"]
    width = max((len(stage["name"]) for stage in facts["stages"]), default=0)
    for stage in facts["stages"]:
        if stage["done"] < stage["blocks"]:
            lines.append(f"  {stage['name']:{width}s}  {stage['done']} of {stage['blocks']}")
    lines += [f"values    {text}" for text in _values(facts["values"])]
    if facts["error"]:
        lines.append(f"error     {facts['error']}")
    lines.append(f"to do     {facts['to_do']}")
    return "\n".join(lines)


def volume_facts(origin: Origin) -> dict[str, Any]:
    """What a volume is, from its metadata; which chunks are missing, from its folder."""
    spec = origin.spec
    facts: dict[str, Any] = {
        **origin.describe(),
        "kind": spec.kind,
        "shape": list(spec.shape),
        "axes": list(spec.axes),
        "dtype": str(spec.dtype),
        "spacing": list(spec.spacing),
        "unit": spec.unit,
        "origin": list(spec.origin),
        "bytes": prod(spec.shape) * spec.dtype.itemsize,
    }
    if isinstance(origin, Volume):
        count, first = missing_chunks(origin)
        if not count:
            count, first = missing_in_shards(origin)
        facts |= {"missing_chunks": count, "first_missing": first}
    return facts


def volume_lines(facts: Mapping[str, Any]) -> str:
    """The same for people."""
    unit = facts["unit"] or "(no unit)"
    shown: dict[str, Any] = {
        **{name: value for name, value in facts.items() if isinstance(value, str) and name not in ("unit", "dtype")},
        "shape": f"{by(facts['shape'])} ({', '.join(facts['axes'])})",
        "voxels": f"{facts['dtype']}, {size(facts['bytes'])}",
        "spacing": f"{by(facts['spacing'])} {unit}",
        "extent": f"{by([n * s for n, s in zip(facts['shape'], facts['spacing'], strict=True)])} {unit}",
    }
    if "missing_chunks" in facts:
        some = f": {', '.join(facts['first_missing'])} …" if facts["missing_chunks"] else ""
        shown["missing"] = f"{facts['missing_chunks']} chunks{some}"
    return "\n".join(f"{name:16s}{value}" for name, value in shown.items())

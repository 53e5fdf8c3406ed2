"""What `plan` and `run` print: plain facts for machines, tables and lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from rich.table import Table

from bigseg.cli.console import console
from bigseg.cli.status import value_lines
from bigseg.engine.stage import Plan
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.planning import Resources
from bigseg.report.wording import by, seconds, size


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
    grid, worst, cache = plan.grid, plan.worst, plan.limits.cache
    out = console()
    brick = f", {prod(plan.brick)} neighbours to a task" if prod(plan.brick) > 1 else ""
    out.print(f"volume    {by(grid.shape)} in {len(grid)} blocks of {by(grid.block)}{brick}")
    out.print(
        f"workers   {resources.workers}, each with {size(resources.memory)}; needed are {size(plan.memory)} "
        f"(stage {worst.name})" + (f", with {size(cache)} of cache for decoded chunks" if cache else "")
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
    lines += [f"values    {text}" for text in value_lines(record.get("values", {}))]
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


def rows(path: Path) -> int:
    """Rows of a table, from the metadata of its files."""
    from bigseg.storage.partitions import row_count

    return row_count(path)

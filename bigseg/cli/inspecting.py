"""Commands that only look: info, plan, status, ops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from bigseg.cli import options
from bigseg.cli.options import Command


def info(
    volume: Annotated[str, typer.Argument(help="OME-Zarr, Zarr, TIFF, NPY")],
    missing: options.Missing = "error",
    as_json: options.Json = False,
) -> None:
    """What a volume is: shape, dtype, spacing, chunks, levels, and whether all its chunks are there."""
    from bigseg.cli.show import volume_facts
    from bigseg.storage.sources.opening import open_source

    facts = volume_facts(open_source(volume, missing=missing))
    if as_json:
        print(json.dumps(facts))
    else:
        print("\n".join(f"{name:12s} {value}" for name, value in facts.items()))


def plan(
    pipeline: Annotated[Path, typer.Argument(help="the pipeline file (YAML)")],
    inputs: options.Volume,
    block: options.Block = None,
    workers: options.Workers = None,
    memory: options.Memory = None,
    changes: options.Changes = None,
    missing: options.Missing = "error",
    as_json: options.Json = False,
) -> None:
    """What a run would do: stages, tasks, bytes, memory a worker, what is stored between and why."""
    from bigseg.cli.show import plan_facts, plan_table
    from bigseg.pipeline.pipeline import Pipeline

    pipe = Pipeline.load(pipeline, changes or ())
    found = pipe.plan(
        options.inputs(inputs, missing),
        block=options.sizes(block),
        workers=workers,
        memory=options.byte_count(memory),
    )
    if as_json:
        print(json.dumps(plan_facts(found)))
    else:
        plan_table(found)


def status(
    out: Annotated[Path, typer.Argument(help="the folder of a run")],
    as_json: options.Json = False,
) -> None:
    """Where a run is: complete, incomplete or failed, and how many blocks of which stage are done."""
    from bigseg.cli.show import status_facts

    facts = status_facts(out)
    if as_json:
        print(json.dumps(facts))
    else:
        print("\n".join(f"{name:12s} {value}" for name, value in facts.items()))


def ops(
    name: Annotated[str | None, typer.Argument(help="one operation: its parameters, cost, oracle, example")] = None,
    as_json: options.Json = False,
) -> None:
    """The operations, a line each; or everything about one."""
    from bigseg.cli.show import op_page, ops_list

    if as_json:
        from bigseg.ops.registry import OPS

        print(json.dumps({key: kind.model_json_schema() for key, kind in OPS.items() if name in (None, key)}))
    else:
        print(ops_list() if name is None else op_page(name))


COMMANDS = (
    Command(info, "Example: bigseg info cement.ome.zarr"),
    Command(plan, "Example: bigseg plan pipelines/voids.yaml -i cement.ome.zarr --workers 2 --memory 2GiB"),
    Command(status, "Example: bigseg status runs/cement"),
    Command(ops, "Example: bigseg ops hysteresis"),
)

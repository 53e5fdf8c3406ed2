"""Commands that only look: info, plan, status, ops."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from bigseg.cli import options
from bigseg.cli.options import Command
from bigseg.errors import UsageError


def info(
    volume: Annotated[str, typer.Argument(help=options.READABLE)],
    level: options.Level = 0,
    channel: options.Channel = None,
    missing: options.Missing = "error",
    spacing: options.Spacing = None,
    roi: options.Roi = None,
    resample: options.Resample = None,
    as_json: options.Json = False,
) -> None:
    """What a volume is: shape, dtype, spacing, chunks, levels, and how many of its chunks are missing."""
    from bigseg.cli.volumes import volume_facts, volume_lines

    how = options.resampling(resample, False, None)
    facts = volume_facts(options.part(options.opened(volume, level, channel, missing, spacing), roi, how))
    print(json.dumps(facts) if as_json else volume_lines(facts))


def plan(
    pipeline: options.Pipeline,
    inputs: options.Volume,
    changes: options.Changes = None,
    allow_code: options.AllowCode = False,
    block: options.Block = None,
    workers: options.Workers = None,
    memory: options.Memory = None,
    level: options.Level = 0,
    channel: options.Channels = None,
    missing: options.Missing = "error",
    spacing: options.Spacing = None,
    roi: options.Roi = None,
    resample: options.Resample = None,
    anti_alias: options.AntiAlias = False,
    interpolation: options.Interpolation = None,
    as_json: options.Json = False,
) -> None:
    """What a run would do: stages, tasks, bytes, memory a worker, what is stored between and why."""
    chosen = options.settings(block, workers, memory)

    from bigseg.cli.show import plan_facts, plan_table
    from bigseg.pipeline.pipeline import Pipeline
    from bigseg.pipeline.planning import local_resources

    pipe = Pipeline.load(pipeline, changes or (), allow_code=allow_code)
    how = options.resampling(resample, anti_alias, interpolation)
    opened = options.inputs(inputs, level, channel, missing, spacing, roi, how)
    found = pipe.plan(opened, **chosen)
    resources = local_resources(chosen["workers"], chosen["memory"])
    if as_json:
        print(json.dumps(plan_facts(found, pipe, resources)))
    else:
        plan_table(found, pipe, resources)


def status(
    out: options.RunFolderArgument,
    as_json: options.Json = False,
) -> None:
    """Where a run or an ingest is: complete, incomplete or failed, how many blocks of each stage, what to do."""
    from bigseg.cli.status import status_facts, status_lines

    facts = status_facts(out)
    print(json.dumps(facts) if as_json else status_lines(facts))


def ops(
    name: Annotated[str | None, typer.Argument(help="one operation: its parameters, cost, oracle, example")] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="print the page of all operations, or one's part")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """The operations, a line each; or everything about one."""
    from bigseg.cli.operations import find_op, op_facts, op_page, ops_list, reference, section
    from bigseg.ops.registry import OPS

    if markdown and as_json:
        raise UsageError("--markdown and --json are two forms of the same: give one of them")
    if markdown:
        print(reference() if name is None else section(find_op(name)), end="")
    elif as_json:
        print(json.dumps([op_facts(kind) for kind in OPS.values()] if name is None else op_facts(find_op(name))))
    elif name is None:
        ops_list()
    else:
        op_page(name)


COMMANDS = (
    Command(info, "bigseg info cement.ome.zarr"),
    Command(plan, "bigseg plan pipelines/voids.yaml -i cement.ome.zarr --workers 2 --memory 2GiB"),
    Command(status, "bigseg status runs/cement"),
    Command(ops, "bigseg ops hysteresis"),
)

"""Commands that make something: demo, ingest, run, preview, report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from bigseg.cli import options, stopping
from bigseg.cli.options import Command
from bigseg.cli.outputs import refuse_picture
from bigseg.cli.phantoms import phantom


def demo(
    folder: Annotated[Path, typer.Argument(help="where the results go")] = Path("bigseg-demo"),
    workers: Annotated[int, typer.Option(min=0, help="processes on this machine, 0: this process")] = 2,
    restart: options.Restart = False,
) -> None:
    """The whole thing on a real sample: ingest, plan, segment, measure, report."""
    options.begin_workers(workers)

    from bigseg.cli.progress import Progress
    from bigseg.cli.show import plan_table
    from bigseg.demo import run_demo

    run_demo(
        folder,
        workers,
        restart=restart,
        say=lambda text: print(text, flush=True),
        show_plan=plan_table,
        watch=lambda plan: Progress(plan, transient=True),
    )


def ingest(
    source: Annotated[str, typer.Argument(help=options.READABLE)],
    target: Annotated[Path, typer.Argument(help="the image to make: NAME.ome.zarr")],
    spacing: options.Spacing = None,
    level: options.Level = 0,
    channel: options.Channel = None,
    missing: options.Missing = "error",
    roi: options.Roi = None,
    resample: options.Resample = None,
    anti_alias: options.AntiAlias = False,
    interpolation: options.Interpolation = None,
    block: options.Block = None,
    workers: options.Workers = None,
    memory: options.Memory = None,
    scheduler: options.Scheduler = None,
    scheduler_file: options.SchedulerFile = None,
    insecure: options.Insecure = False,
    restart: options.Restart = False,
    as_json: options.Json = False,
) -> None:
    """Store a file as a sharded OME-Zarr 0.5 image with a pyramid; the same command again continues."""
    chosen = options.settings(block, workers, memory, scheduler, scheduler_file, restart, insecure=insecure)
    how = options.resampling(resample, anti_alias, interpolation)
    options.begin_workers(workers, scheduler, scheduler_file)

    from bigseg.cli.storing import store
    from bigseg.cli.volumes import volume_facts

    origin = options.part(options.opened(source, level, channel, missing, spacing), roi, how)
    volume = store(origin, target, chosen, as_json)
    if as_json:
        print(json.dumps(volume_facts(volume)))


def run(
    pipeline: options.Pipeline,
    inputs: options.Volume,
    out: Annotated[Path, typer.Option("-o", "--out", help="the run's folder; a run that is there is continued")],
    changes: options.Changes = None,
    allow_code: options.AllowCode = False,
    block: options.Block = None,
    workers: options.Workers = None,
    memory: options.Memory = None,
    scheduler: options.Scheduler = None,
    scheduler_file: options.SchedulerFile = None,
    insecure: options.Insecure = False,
    level: options.Level = 0,
    channel: options.Channels = None,
    missing: options.Missing = "error",
    spacing: options.Spacing = None,
    roi: options.Roi = None,
    resample: options.Resample = None,
    anti_alias: options.AntiAlias = False,
    interpolation: options.Interpolation = None,
    walltime: options.Walltime = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="read all that is there first; without, lengths are compared")
    ] = False,
    restart: options.Restart = False,
    as_json: options.Json = False,
) -> None:
    """Run a pipeline on a volume, or continue where a run of the same was stopped."""
    chosen = options.settings(block, workers, memory, scheduler, scheduler_file, restart, insecure=insecure)
    how = options.resampling(resample, anti_alias, interpolation)
    stopping.before_walltime(walltime)
    options.begin_workers(workers, scheduler, scheduler_file)

    from bigseg.cli.running import run_and_tell
    from bigseg.engine.damage import find_damage
    from bigseg.pipeline.pipeline import Pipeline
    from bigseg.pipeline.prepared import Settings

    pipe = Pipeline.load(pipeline, changes or (), allow_code=allow_code)
    opened = options.inputs(inputs, level, channel, missing, spacing, roi, how)
    prepared, start = pipe.check(opened, out, Settings(**chosen))
    if verify and prepared.folder.journal.exists():
        prepared.damaged = find_damage(out)
    run_and_tell(pipe, prepared, start, out, as_json)


def preview(
    pipeline: options.Pipeline,
    inputs: options.Volume,
    z: Annotated[int | None, typer.Option("--z", help="the plane to show (default: the middle)")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="the picture to write")] = Path("preview.png"),
    planes: Annotated[int, typer.Option(min=1, help="planes computed around it: what global steps can see")] = 17,
    side: Annotated[
        int, typer.Option(min=16, help="longest side in y and x that is computed, cut from the middle")
    ] = 1024,
    changes: options.Changes = None,
    allow_code: options.AllowCode = False,
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
    """A picture of one plane under every step, computed on a thin slab: seconds, whatever the volume's size."""
    refuse_picture("-o", out, [pipeline, *options.named(inputs).values()])

    from bigseg.pipeline.pipeline import Pipeline

    pipe = Pipeline.load(pipeline, changes or (), allow_code=allow_code)
    how = options.resampling(resample, anti_alias, interpolation)
    opened = options.inputs(inputs, level, channel, missing, spacing, roi, how)
    found = pipe.preview(opened, z=z, planes=planes, side=side)
    out.write_bytes(found.picture)
    if as_json:
        print(json.dumps({"picture": str(out), "note": found.note, "values": found.values}))
    else:
        print(f"{out}: {found.note}")


def report(
    out: options.RunFolderArgument,
    allow_incomplete: Annotated[
        bool, typer.Option("--allow-incomplete", help="report on a run that has not finished")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Write a run's report.html anew."""
    from bigseg.engine.folder import complete
    from bigseg.report.page import write_report

    record = complete(out, allow_incomplete)
    path = str(write_report(out, record, record["status"]))
    print(json.dumps({"report": path}) if as_json else path)


COMMANDS = (
    Command(demo, "bigseg demo demo-run"),
    Command(ingest, 'bigseg ingest scans/cement.tif cement.ome.zarr --spacing "2.5 um"'),
    Command(run, "bigseg run pipelines/voids.yaml -i cement.ome.zarr -o runs/cement --workers 2 --memory 2GiB"),
    Command(preview, "bigseg preview voids -i cement.ome.zarr --z 100 --set smooth.sigma=2 -o preview.png"),
    Command(report, "bigseg report runs/cement"),
    Command(phantom, "bigseg phantom voids voids.ome.zarr --shape 512 --seed 1 --blur 1 --noise 8 --truth mask"),
)

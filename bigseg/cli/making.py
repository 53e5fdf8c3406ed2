"""Commands that make something: demo, ingest, run, preview, report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from bigseg.cli import options
from bigseg.cli.options import Command


def demo(
    folder: Annotated[Path, typer.Argument(help="where the results go")] = Path("bigseg-demo"),
    workers: Annotated[int, typer.Option(min=0, help="processes on this machine")] = 2,
) -> None:
    """The whole thing on a real sample: ingest, plan, segment, measure, report."""
    from bigseg.demo import run_demo

    run_demo(folder, workers)


def ingest(
    source: Annotated[str, typer.Argument(help="TIFF, folder or glob of TIFFs, NPY, Zarr")],
    target: Annotated[Path, typer.Argument(help="the image to make: NAME.ome.zarr")],
    spacing: Annotated[str | None, typer.Option(help='voxel size: "0.65 um" or "2,1,1 um" [from the file]')] = None,
    block: options.Block = None,
    workers: options.Workers = None,
    memory: options.Memory = None,
    scheduler: options.Scheduler = None,
    scheduler_file: options.SchedulerFile = None,
    missing: options.Missing = "error",
    restart: options.Restart = False,
    as_json: options.Json = False,
) -> None:
    """Store a file as a sharded OME-Zarr 0.5 image with a pyramid; resumable."""
    from bigseg.cli.progress import Progress
    from bigseg.pipeline.ingest import ingest as store
    from bigseg.storage.sources.opening import open_source

    origin = open_source(source, missing=missing, spacing=spacing)
    chosen = options.settings(block, workers, memory, scheduler, scheduler_file)
    volume = store(origin, target, observe=Progress(0, as_json), restart=restart, **chosen)
    found = {"image": str(target), "shape": list(volume.spec.shape), "dtype": str(volume.spec.dtype)}
    print(json.dumps(found) if as_json else f"{target}: {'x'.join(map(str, volume.spec.shape))} {volume.spec.dtype}")


def run(
    pipeline: Annotated[Path, typer.Argument(help="the pipeline file (YAML)")],
    inputs: options.Volume,
    out: Annotated[Path, typer.Option("-o", "--out", help="the run's folder; an existing run is continued")],
    block: options.Block = None,
    workers: options.Workers = None,
    memory: options.Memory = None,
    scheduler: options.Scheduler = None,
    scheduler_file: options.SchedulerFile = None,
    changes: options.Changes = None,
    missing: options.Missing = "error",
    restart: options.Restart = False,
    as_json: options.Json = False,
) -> None:
    """Run a pipeline on a volume, or continue where a run of the same was stopped."""
    from bigseg.cli.progress import Progress
    from bigseg.cli.show import run_summary
    from bigseg.engine.folder import RunFolder
    from bigseg.pipeline.pipeline import Pipeline
    from bigseg.pipeline.running import describe_existing

    pipe = Pipeline.load(pipeline, changes or ())
    opened = options.inputs(inputs, missing)
    if not as_json:
        typer.echo(f"{out}: {'begins again' if restart else describe_existing(RunFolder(out))}", err=True)
    chosen = options.settings(block, workers, memory, scheduler, scheduler_file)
    done = pipe.run(opened, out, observe=Progress(0, as_json), restart=restart, **chosen)
    print(json.dumps(done.record) if as_json else run_summary(done.path, done.record))


def preview(
    pipeline: Annotated[Path, typer.Argument(help="the pipeline file (YAML)")],
    inputs: options.Volume,
    z: Annotated[int | None, typer.Option(help="the plane to show [the middle]")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="the picture to write")] = Path("preview.png"),
    planes: Annotated[int, typer.Option(min=1, help="planes computed around it: what global steps can see")] = 17,
    changes: options.Changes = None,
    missing: options.Missing = "error",
) -> None:
    """A picture of one plane under every step, computed on a thin slab: seconds, whatever the volume's size."""
    from bigseg.pipeline.pipeline import Pipeline

    pipe = Pipeline.load(pipeline, changes or ())
    found = pipe.preview(options.inputs(inputs, missing), z=z, planes=planes)
    out.write_bytes(found.picture)
    print(f"{out}: {found.note}")


def report(
    out: Annotated[Path, typer.Argument(help="the folder of a run")],
    allow_incomplete: Annotated[bool, typer.Option(help="report on a run that has not finished")] = False,
) -> None:
    """Write a run's report.html anew."""
    from bigseg.engine.folder import complete
    from bigseg.report.page import write_report

    record: dict[str, Any] = complete(out, allow_incomplete)
    print(write_report(out, record))


COMMANDS = (
    Command(demo, "Example: bigseg demo demo-run"),
    Command(ingest, 'Example: bigseg ingest scans/cement.tif cement.ome.zarr --spacing "2.5 um"'),
    Command(run, "Example: bigseg run pipelines/voids.yaml -i cement.ome.zarr -o runs/cement --workers 2 --memory 2GiB"),
    Command(preview, "Example: bigseg preview pipelines/voids.yaml -i cement.ome.zarr --z 100 -o preview.png"),
    Command(report, "Example: bigseg report runs/cement"),
)

"""The command that compares thresholds: a table, and a picture of one plane under each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from bigseg.cli import options
from bigseg.cli.options import Command
from bigseg.cli.outputs import refuse_picture
from bigseg.errors import UsageError


def threshold(
    volume: Annotated[str, typer.Argument(help=options.READABLE)],
    method: Annotated[str, typer.Option(help="all, one method, or several: otsu,li,triangle")] = "all",
    classes: Annotated[int, typer.Option(min=2, max=5, help="classes of multi_otsu")] = 3,
    picture: Annotated[Path | None, typer.Option(help="write a plane under every threshold to this PNG file")] = None,
    z: Annotated[int | None, typer.Option("--z", help="the plane of the picture (default: the middle)")] = None,
    block: options.Block = None,
    workers: options.Workers = None,
    memory: options.Memory = None,
    scheduler: options.Scheduler = None,
    scheduler_file: options.SchedulerFile = None,
    insecure: options.Insecure = False,
    level: options.Level = 0,
    channel: options.Channel = None,
    missing: options.Missing = "error",
    spacing: options.Spacing = None,
    roi: options.Roi = None,
    as_json: options.Json = False,
) -> None:
    """Thresholds of a volume by every method, with the share of voxels above each, as a table and a picture."""
    if picture is not None:
        refuse_picture("--picture", picture, [volume])
    elif z is not None:
        raise UsageError("--z says which plane the picture shows: give --picture too")
    chosen = options.settings(block, workers, memory, scheduler, scheduler_file, insecure=insecure)

    from bigseg.cli.tried import methods_of, tried, tried_table
    from bigseg.report.tried import plane_shown, threshold_picture

    methods = methods_of(method)
    origin = options.part(options.opened(volume, level, channel, missing, spacing), roi, None)
    plane_shown(origin.spec, z)  # a plane that is not there is refused before all of the volume is read
    found = tried(origin, methods, classes, chosen, as_json)
    where = ""
    if picture is not None:
        png, where = threshold_picture(origin, found, z)
        picture.write_bytes(png)
    if as_json:
        facts = {"volume": volume, **found.as_dict()}
        print(json.dumps(facts | ({"picture": str(picture), "plane": where} if picture else {})))
    else:
        tried_table(found)
        if picture is not None:
            print(f"\n{picture}: {where}")


COMMANDS = (Command(threshold, "bigseg threshold cement.ome.zarr --method all --picture thresholds.png"),)

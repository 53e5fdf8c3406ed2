"""Options that several commands share, and how their texts become values."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from bigseg.errors import UsageError
from bigseg.storage.units import byte_count

READABLE = "OME-Zarr, Zarr, TIFF, a folder or pattern of slices, PNG, NPY, phantom:KIND,shape=512,seed=1"


@dataclass(frozen=True)
class Command:
    """A command's function and the example under its help."""

    function: Callable[..., int | None]
    example: str


Pipeline = Annotated[str, typer.Argument(help="the pipeline file (YAML), or a recipe by name: voids")]
Volume = Annotated[
    list[str],
    typer.Option("-i", "--input", help=f"the volume: {READABLE}; several as name=path", show_default=False),
]
RunFolderArgument = Annotated[Path, typer.Argument(help="the folder of a run")]
Block = Annotated[
    str | None,
    typer.Option(
        metavar="SIZES", help="voxels per axis computed at a time, 256 or 64,256,256 (default: the plan's choice)"
    ),
]
Workers = Annotated[
    int | None, typer.Option(min=0, max=4096, help="processes on this machine, 0: this process (default: all cores)")
]
Memory = Annotated[str | None, typer.Option(help="memory of a worker: 2GiB (default: an even share of what is free)")]
Scheduler = Annotated[str | None, typer.Option(metavar="ADDRESS", help="a running Dask scheduler: tls://host:8786")]
SchedulerFile = Annotated[Path | None, typer.Option(help="file that a running Dask scheduler wrote")]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="let the scheduler be on another machine without TLS: on a network of yours")
]
Walltime = Annotated[
    str | None,
    typer.Option(
        metavar="HH:MM:SS",
        help="stop in order 45 s before this time is over, to be continued (default: SLURM_JOB_END_TIME)",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="change a parameter: voids.low=60", metavar="STEP.KEY=VALUE")
]
AllowCode = Annotated[
    bool,
    typer.Option("--allow-code", help="let map_block steps run the Python functions they name; only if you trust them"),
]
Restart = Annotated[bool, typer.Option("--restart", help="remove what an earlier run left, begin again")]
Level = Annotated[int, typer.Option(min=0, help="resolution of an OME-Zarr image, 0 the finest")]
Channel = Annotated[str | None, typer.Option(help="which channel, by number or name, where there are several")]
Channels = Annotated[
    list[str] | None,
    typer.Option("--channel", help="which channel, by number or name, where there are several; of one input: xray=2"),
]
Missing = Annotated[
    str, typer.Option(metavar="error|fill", help="chunks that are not there: refuse, or take the fill value")
]
Roi = Annotated[
    str | None,
    typer.Option(
        "--roi", metavar="Z0:Z1,Y0:Y1,X0:X1", help="only this part, as a volume of its own: 100:200,:,0.5mm:-1mm"
    ),
]
Resample = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help='interpolate to voxels of this size, "5 um" or "5 2 2 um", or to "50%" of them'),
]
AntiAlias = Annotated[
    bool, typer.Option("--anti-alias", help="with --resample: smooth what is reduced, so that no detail turns to noise")
]
Interpolation = Annotated[
    str | None,
    typer.Option(metavar="linear|nearest", help="of --resample (default: linear; nearest for masks and labels)"),
]
Spacing = Annotated[str | None, typer.Option(help='voxel size, "0.65 um" or "2 1 1 um" (default: what the file says)')]


def settings(
    block: str | None,
    workers: int | None,
    memory: str | None,
    scheduler: str | None = None,
    scheduler_file: Path | None = None,
    restart: bool = False,
    *,
    insecure: bool = False,
) -> dict[str, Any]:
    """The run's settings from the options."""
    if scheduler and scheduler_file:
        raise UsageError("--scheduler and --scheduler-file both name a cluster: give one of them")
    if workers is not None and (scheduler or scheduler_file):
        raise UsageError(
            "--workers starts processes on this machine, --scheduler uses a running cluster: give one of them"
        )
    return {
        "block": sizes(block),
        "workers": workers,
        "memory": None if memory is None else byte_count(memory),
        "scheduler": scheduler,
        "scheduler_file": str(scheduler_file) if scheduler_file else None,
        "insecure": insecure,
        "restart": restart,
    }


def begin_workers(workers: int | None, scheduler: str | None = None, scheduler_file: Path | None = None) -> None:
    """Begin what workers of this machine are made from, where there will be some, while this process goes on."""
    if workers != 0 and not (scheduler or scheduler_file or "DASK_SCHEDULER_ADDRESS" in os.environ):
        from bigseg.engine.cluster import forking

        forking.begin()


def sizes(text: str | None) -> tuple[int, ...] | None:
    """``"256"`` or ``"64,256,256"``.

    >>> sizes("64,256,256"), sizes("64x64x64")
    ((64, 256, 256), (64, 64, 64))
    """
    if text is None:
        return None
    try:
        found = tuple(int(item) for item in text.replace("x", ",").split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise UsageError(f"--block {text}: expected whole numbers of 1 or more, as in 256 or 64,256,256")
    return found


def opened(path: str, level: int, channel: str | None, missing: str, spacing: str | None) -> Any:
    """One input, opened; only its metadata is read."""
    from bigseg.storage.sources.opening import open_source

    if missing not in ("error", "fill"):
        raise UsageError(f"--missing {missing}: expected error or fill")
    return open_source(path, level, numbered(channel), missing, spacing)  # type: ignore[arg-type]


def numbered(channel: str | None) -> int | str | tuple[int, ...] | None:
    """A channel by its number, by one number for each leading axis, or by its name.

    >>> numbered("2"), numbered("0,1"), numbered("DAPI")
    (2, (0, 1), 'DAPI')
    """
    if channel is None or not re.fullmatch(r"\s*\d+(\s*,\s*\d+)*\s*", channel):
        return channel
    numbers = tuple(int(item) for item in channel.split(","))
    return numbers[0] if len(numbers) == 1 else numbers


def resampling(size: str | None, anti_alias: bool, interpolation: str | None) -> dict[str, Any] | None:
    """The voxel size that was asked for, and how."""
    if size is None:
        if anti_alias or interpolation:
            raise UsageError("--anti-alias and --interpolation say how to resample: give --resample too")
        return None
    return {"spacing": size, "interpolation": interpolation, "anti_alias": anti_alias}


def part(origin: Any, roi: str | None, resample: dict[str, Any] | None) -> Any:
    """The region of an opened input, at the voxel size that was asked for."""
    from bigseg.pipeline.geometry import open_inputs

    return open_inputs({"input": origin}, roi, resample)["input"]


def named(items: Sequence[str]) -> dict[str, str]:
    """The paths of ``path`` or ``name=path`` options, by name.

    >>> named(["xray=a.zarr", "b.zarr"])
    {'xray': 'a.zarr', 'input': 'b.zarr'}
    """
    found: dict[str, str] = {}
    for item in items:
        name, equals, path = item.partition("=")
        key, value = (name, path) if equals and re.fullmatch(r"[A-Za-z][\w-]*", name) else ("input", item)
        if key in found:
            raise UsageError(
                f"-i {item}: the input {key!r} is given twice; name them: -i xray=a.zarr -i neutron=b.zarr"
            )
        found[key] = value
    return found


def inputs(
    items: Sequence[str],
    level: int,
    channels: Sequence[str] | None,
    missing: str,
    spacing: str | None,
    roi: str | None = None,
    resample: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """``path`` or ``name=path`` options as opened inputs, cut to the region and resampled."""
    from bigseg.pipeline.geometry import open_inputs

    paths = named(items)
    chosen = channel_of(channels or (), list(paths))
    found = {name: opened(path, level, chosen[name], missing, spacing) for name, path in paths.items()}
    return open_inputs(found, roi, resample)


def channel_of(channels: Sequence[str], names: Sequence[str]) -> dict[str, str | None]:
    """The channel of each input: its own, or the one given for all.

    >>> channel_of(["1", "b=DAPI"], ["a", "b"])
    {'a': '1', 'b': 'DAPI'}
    """
    found: dict[str, str] = {}
    for item in channels:
        name, equals, channel = item.partition("=")
        key = name if equals else ""
        if key and key not in names:
            raise UsageError(f"--channel {item}: there is no input {key!r}, only {', '.join(names)}")
        if key in found:
            raise UsageError(f"--channel {item}: a channel is given twice; name the input it is of: xray=2")
        found[key] = channel if equals else item
    return {name: found.get(name, found.get("")) for name in names}

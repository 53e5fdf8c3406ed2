"""Options that several commands share, and how their texts become values."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from bigseg.errors import UsageError

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


@dataclass(frozen=True)
class Command:
    """A command's function and the example under its help."""

    function: Callable[..., None]
    example: str


Volume = Annotated[
    list[str],
    typer.Option("-i", "--input", help="the volume: OME-Zarr, Zarr, TIFF, NPY; several as name=path", show_default=False),
]
Block = Annotated[str | None, typer.Option(help="voxels per axis computed at a time: 256 or 64,256,256 [plan's choice]")]
Workers = Annotated[int | None, typer.Option(min=0, help="processes on this machine; 0: this process [all cores]")]
Memory = Annotated[str | None, typer.Option(help="memory of a worker: 2GiB [an even share of what is free]")]
Scheduler = Annotated[str | None, typer.Option(help="address of a running Dask scheduler")]
SchedulerFile = Annotated[Path | None, typer.Option(help="file that a running Dask scheduler wrote")]
Json = Annotated[bool, typer.Option("--json", help="print JSON for machines")]
Changes = Annotated[list[str] | None, typer.Option("--set", help="change a parameter: voids.low=60", metavar="STEP.KEY=VALUE")]
Restart = Annotated[bool, typer.Option(help="remove what an earlier run left, begin again")]
Missing = Annotated[str, typer.Option(help="chunks that are not there: error, or fill with the fill value")]


def settings(
    block: str | None, workers: int | None, memory: str | None, scheduler: str | None, scheduler_file: Path | None
) -> dict[str, Any]:
    """The run's settings from the options."""
    return {
        "block": sizes(block),
        "workers": workers,
        "memory": byte_count(memory),
        "scheduler": scheduler,
        "scheduler_file": str(scheduler_file) if scheduler_file else None,
    }


def sizes(text: str | None) -> tuple[int, ...] | None:
    """``"256"`` or ``"64,256,256"``.

    >>> sizes("64,256,256")
    (64, 256, 256)
    """
    if text is None:
        return None
    try:
        return tuple(int(item) for item in text.replace("x", ",").split(","))
    except ValueError:
        raise UsageError(f"--block {text}: expected whole numbers, as in 256 or 64,256,256") from None


def byte_count(text: str | None) -> int | None:
    """``"2GiB"`` in bytes.

    >>> byte_count("2GiB"), byte_count("500 MB")
    (2147483648, 500000000)
    """
    if text is None:
        return None
    match = re.fullmatch(r"\s*([\d.]+)\s*([kmgt]?i?)b?\s*", text.lower())
    try:
        if match:
            return int(float(match[1]) * UNITS[match[2]])
    except (ValueError, KeyError):
        pass
    raise UsageError(f"--memory {text}: expected a number of bytes with a unit, as in 2GiB or 500MB")


def inputs(items: Sequence[str], missing: str) -> dict[str, Any]:
    """``path`` or ``name=path`` options as opened inputs."""
    from bigseg.storage.sources.opening import open_source

    if missing not in ("error", "fill"):
        raise UsageError(f"--missing {missing}: expected error or fill")
    named: dict[str, str] = {}
    for item in items:
        name, equals, path = item.partition("=")
        key, value = (name, path) if equals and re.fullmatch(r"[A-Za-z][\w-]*", name) else ("input", item)
        if key in named:
            raise UsageError(f"-i {item}: the input {key!r} is given twice; name them: -i xray=a.zarr -i neutron=b.zarr")
        named[key] = value
    return {name: open_source(path, missing=missing) for name, path in named.items()}

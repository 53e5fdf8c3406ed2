"""The command that makes volumes with a known truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from bigseg.cli import options
from bigseg.errors import UsageError


def phantom(
    kind: Annotated[str, typer.Argument(help="voids, lacunae, fibres, layers, grains or random")],
    target: Annotated[
        Path | None, typer.Argument(help="the image to make: NAME.ome.zarr (default: list the kind's parameters)")
    ] = None,
    shape: Annotated[str, typer.Option(help="voxels: 512, 64x512x512 or 512x512")] = "256",
    seed: Annotated[int, typer.Option(min=0, help="another seed, other objects and noise")] = 0,
    blur: Annotated[float, typer.Option(help="sigma of the blur, in voxels")] = 0.0,
    noise: Annotated[float, typer.Option(help="standard deviation of gaussian noise, in grey values")] = 0.0,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="any other parameter: size=20", metavar="NAME=VALUE")
    ] = None,
    truth: Annotated[
        list[str] | None, typer.Option(help="mask, classes or instances, as NAME-mask.ome.zarr; several times")
    ] = None,
    dtype: Annotated[str, typer.Option(metavar="uint8|uint16|float32", help="of the image")] = "uint16",
    spacing: options.Spacing = None,
    block: options.Block = None,
    workers: options.Workers = None,
    memory: options.Memory = None,
    scheduler: options.Scheduler = None,
    scheduler_file: options.SchedulerFile = None,
    insecure: options.Insecure = False,
    restart: options.Restart = False,
    as_json: options.Json = False,
) -> None:
    """Make a volume with a known truth, of any size; the same seed gives the same voxels everywhere."""
    if target is None:
        return _parameters(kind, as_json)
    chosen = options.settings(block, workers, memory, scheduler, scheduler_file, restart, insecure=insecure)
    given: dict[str, Any] = {"blur": blur, "noise": noise} | _changes(changes or ())
    if kind == "random":
        given = {name: value for name, value in given.items() if value or name not in ("blur", "noise")}

    from bigseg.cli.storing import store
    from bigseg.cli.volumes import volume_facts
    from bigseg.storage.sources.phantom import PhantomSource

    made = PhantomSource.make(kind, shape, dtype=dtype, spacing=spacing or 1.0, parameters={"seed": seed, **given})
    shown = {name: made.showing(name) for name in truth or ()}
    sources = {target: made} | {_beside(target, name): source for name, source in shown.items()}
    facts = []
    for path, source in sources.items():
        volume = store(source, path, chosen, as_json)
        facts.append({**volume_facts(volume), "phantom": source.path})
    print(json.dumps(facts) if as_json else f"without a disk: -i {made.path!r}")
    return None


def _changes(items: list[str] | tuple[()]) -> dict[str, str]:
    """``NAME=VALUE`` options."""
    found = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or name in ("blur", "noise", "seed"):
            raise UsageError(f"--set {item}: expected NAME=VALUE; blur, noise and seed have options of their own")
        found[name] = value
    return found


def _beside(target: Path, truth: str) -> Path:
    """``NAME-mask.ome.zarr`` beside ``NAME.ome.zarr``."""
    stem = target.name.removesuffix(".zarr").removesuffix(".ome")
    return target.with_name(f"{stem}-{truth}{target.name[len(stem) :]}")


def _parameters(kind: str, as_json: bool) -> None:
    """Print what a kind is, and its parameters."""
    from rich.table import Table
    from rich.text import Text

    from bigseg.cli.console import console
    from bigseg.cli.operations import type_words
    from bigseg.storage.sources.phantom import kind_named

    model = kind_named(kind)
    schema = model.model_json_schema()
    if as_json:
        print(json.dumps(schema))
        return
    out = console()
    out.print(Text(f"{kind}: {' '.join((model.__doc__ or '').split())}\n"))
    table = Table(box=None, header_style="bold", padding=(0, 1), pad_edge=False)
    for column in ("parameter", "type", "default", "meaning"):
        table.add_column(column, no_wrap=column == "parameter")
    for name, item in schema["properties"].items():
        default = item.get("default")
        shown = "/".join(f"{value:g}" for value in default) if isinstance(default, (list, tuple)) else f"{default}"
        table.add_row(name, Text(type_words(item)), shown, Text(item.get("description", "")))
    out.print(table)
    out.print(Text(f"\ntruths    {', '.join(model.truths)}"))
    out.print(Text(f"as input  -i phantom:{kind},shape=512x512x512,seed=1"))

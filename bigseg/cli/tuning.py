"""The command that asks a finished run what other parameters would give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bigseg.cli import options
from bigseg.cli.options import Command

if TYPE_CHECKING:
    from bigseg.pipeline.tuning import Tuned


def tune(
    folder: Annotated[Path, typer.Argument(help="the folder of a finished run with `keep_components: true`")],
    changes: options.Changes = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="make the new volumes there: one pass, nothing is labelled anew")
    ] = None,
    workers: options.Workers = None,
    memory: options.Memory = None,
    scheduler: options.Scheduler = None,
    scheduler_file: options.SchedulerFile = None,
    insecure: options.Insecure = False,
    restart: options.Restart = False,
    as_json: options.Json = False,
) -> None:
    """What other seeds, sizes or selections would give, from the components a run kept; no voxel is read."""
    chosen = options.settings(None, workers, memory, scheduler, scheduler_file, restart, insecure=insecure)

    from bigseg.pipeline import tuning

    tuned = tuning.tune(folder, changes or ())
    if out is None:
        _answer(tuned, as_json)
        return

    from bigseg.cli.running import run_and_tell

    prepared, start = tuned.prepare(out, **chosen)
    run_and_tell(tuned.pipeline, prepared, start, out, as_json)


def _answer(tuned: Tuned, as_json: bool) -> None:
    """The table of what each step would show."""
    if as_json:
        steps = tuned.rows()
        for name, found in tuned.steps.items():
            steps[name] |= {"unit": found.unit, "sizes": found.sizes.tolist(), "counts": found.counts.tolist()}
        print(json.dumps({"changes": list(tuned.changes), "steps": steps}))
        return

    from rich.table import Table

    from bigseg.cli.console import console
    from bigseg.report.wording import number, unit

    shown = Table(box=None, header_style="bold", padding=(0, 1), pad_edge=False)
    for name in ("step", "objects", "voxels", "volume", "smallest", "median", "95 %", "largest"):
        shown.add_column(name, justify="left" if name == "step" else "right")
    for name, found in tuned.steps.items():
        power = len(tuned.record["volume"]["shape"])
        volume = f"{number(found.volume)} {unit(found.unit, power)}" if found.unit else ""
        sizes = (f"{found.quantile(share):,}" for share in (0.0, 0.5, 0.95, 1.0))
        shown.add_row(name, f"{found.objects:,}", f"{found.num_pixels:,}", volume, *sizes)
    console().print(shown)


COMMANDS = (Command(tune, "bigseg tune runs/cement --set voids.low=60 --set voids.min_size=100"),)

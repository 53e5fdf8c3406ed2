"""Running what was checked, with progress: into a folder that stays, or into one that does not."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import dask

from bigseg.cli.progress import Progress
from bigseg.cli.show import run_summary
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.prepared import Prepared, Settings, Start
from bigseg.pipeline.record import content_of, describe_existing
from bigseg.pipeline.result import Run
from bigseg.pipeline.running import run_prepared
from bigseg.pipeline.steps import Step
from bigseg.storage.sources.opening import Origin

SMALL = 256 << 20
"""Bytes of volumes that this process visits sooner than workers would start."""


def run_and_tell(pipeline: Pipeline, prepared: Prepared, start: Start, out: Path, as_json: bool) -> None:
    """Run into a folder or continue there; say what lies there before, and what came out.

    Parameters
    ----------
    pipeline, prepared, start : what was checked.
    out : the folder as the user named it.
    as_json : one document, and progress for machines.
    """
    if not as_json:
        found = describe_existing(prepared, content_of(pipeline.as_dict(), prepared))
        print(f"{out}: {found}", file=sys.stderr)
    with Progress(prepared.plan, as_json) as progress:
        done = run_prepared(pipeline.as_dict(), prepared, start, progress)
    print(json.dumps({"folder": str(out), **done.record}) if as_json else run_summary(out, done.record))


@contextmanager
def run_aside(
    step: Step, origins: Mapping[str, Origin], settings: Mapping[str, Any], as_json: bool = False
) -> Iterator[Run]:
    """The run of one step, whose folder goes when what was asked has been read.

    Parameters
    ----------
    step : what is computed.
    origins : opened inputs.
    settings : of the run; small volumes are computed in this process where nothing else is said.
    as_json : progress for machines.
    """
    chosen = Settings(**settings, report=False)
    held = sum(prod(item.spec.shape) * item.spec.dtype.itemsize for item in origins.values())
    if held <= SMALL and chosen.workers is None and not (chosen.scheduler or chosen.scheduler_file):
        chosen = replace(chosen, workers=0)
    with tempfile.TemporaryDirectory(prefix=f".bigseg-{step.id}-", dir=_shared_folder(chosen)) as folder:
        pipe = Pipeline([step])
        prepared, start = pipe.check(dict(origins), Path(folder) / "run", chosen)
        with Progress(prepared.plan, as_json, transient=True) as progress:
            run = run_prepared(pipe.as_dict(), prepared, start, progress)
        yield run


def _shared_folder(settings: Settings) -> Path | None:
    """Where a cluster's workers find the scratch of the run: this folder, for theirs is another /tmp."""
    named = settings.scheduler or settings.scheduler_file or dask.config.get("scheduler-address", None)
    return Path.cwd() if named and settings.workers is None else None

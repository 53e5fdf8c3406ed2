"""Mending a run: its damaged blocks are computed again by the very path that continues a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bigseg.engine.damage import Found
from bigseg.engine.folder import RunFolder
from bigseg.engine.run import Observer
from bigseg.errors import OutputError
from bigseg.pipeline.kept import kept_of
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.prepared import Prepared, Settings, Start
from bigseg.pipeline.record import inputs_again
from bigseg.pipeline.result import Run
from bigseg.pipeline.running import run_prepared


def prepare_repair(
    folder: Path, found: Found, *, allow_code: bool = False, **settings: Any
) -> tuple[Pipeline, Prepared, Start]:
    """Open a run's inputs again and plan it as it was; refuses what a continued run would.

    Parameters
    ----------
    folder : of the run.
    found : what `bigseg.engine.damage.find_damage` found in it.
    allow_code : as of `Pipeline.load`.
    settings : as of `Pipeline.run`: where it is computed.

    Raises
    ------
    OutputError
        When there is no run, or an input was an array in memory and is gone.
    """
    run = RunFolder(folder.absolute())
    record = run.read()
    if record is None:
        raise OutputError(f"{folder} holds no run (no run.json): expected a folder made by `bigseg run`")
    inputs = inputs_again(run, record)
    pipeline = Pipeline.from_dict(record["pipeline"], allow_code=allow_code)
    kept = kept_of(RunFolder(Path(record["components_in"]))) if "components_in" in record else None
    prepared, start = pipeline.check(inputs, folder, Settings.of(settings | {"block": tuple(record["block"])}), kept)
    prepared.damaged = found
    return pipeline, prepared, start


def repair(
    folder: str | Path,
    found: Found,
    *,
    allow_code: bool = False,
    observe: Observer = lambda summary, done, units: None,
    **settings: Any,
) -> Run:
    """Compute the damaged blocks of a run again, and whatever was not finished.

    Parameters
    ----------
    folder, found, allow_code, settings : as of `prepare_repair`.

    Returns
    -------
    The finished run. Of a run whose scratch is gone, what the damaged blocks are computed from is computed again
    too; it must give the same as before.
    """
    pipeline, prepared, start = prepare_repair(Path(folder), found, allow_code=allow_code, **settings)
    return run_prepared(pipeline.as_dict(), prepared, start, observe)

"""Pipelines that name Python code: loaded only where that is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bigseg.errors import PipelineError
from bigseg.ops.map_block import MapBlock, code_refused
from bigseg.pipeline.steps import Step


def with_code(steps: Sequence[Step], allowed: bool, folder: Path | None = None) -> list[Step]:
    """Steps with the functions in place of their names.

    Parameters
    ----------
    steps : as parsed.
    allowed : whether the modules may be imported, which runs them.
    folder : where modules are looked for beside the usual places: that of the pipeline file.

    Raises
    ------
    PipelineError
        When a step names code and that is not allowed, or there is no such function.

    Examples
    --------
    >>> step = Step("half", MapBlock(function="numpy:floor"))
    >>> with_code([step], allowed=True)[0].op.function.name
    'numpy:floor'
    """
    found = []
    for step in steps:
        if isinstance(step.op, MapBlock) and isinstance(step.op.function, str):
            if not allowed:
                raise PipelineError(f"step {step.id!r}: {code_refused(step.op.function)}")
            try:
                step = replace(step, op=step.op.loaded(folder))
            except PipelineError as error:
                raise PipelineError(f"step {step.id!r}: {error}") from error
        found.append(step)
    return found

"""From steps and opened inputs to the graph that the engine plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bigseg.engine.field import Field, Reduction, Write
from bigseg.errors import PipelineError, unknown
from bigseg.ops.base import Result, Site
from bigseg.ops.components.volume import Objects, sets_of
from bigseg.ops.masked import build_masked
from bigseg.pipeline.steps import Step


@dataclass
class Built:
    """A pipeline's graph: what every step gives, and what the run must produce."""

    inputs: dict[str, Field]
    results: dict[str, Result] = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)
    reductions: list[Reduction] = field(default_factory=list)

    def sets(self) -> list[Objects]:
        """The sets of components that the steps find."""
        return sets_of([*self.results.values()])


def build(steps: Sequence[Step], save: Sequence[str], inputs: Mapping[str, Field], folder: Path) -> Built:
    """Connect the steps.

    A step reads what ``from`` names, by default the nearest step before it that gives a volume; the first
    reads the input. It is computed where ``mask`` is, if it has one. With nothing under ``save``, the last volume
    is saved.

    Raises
    ------
    PipelineError
        Ids used twice, unknown names, a step that does not fit its input.
    """
    built = Built(dict(inputs))
    known: dict[str, Result] = dict(inputs)
    latest = next(iter(inputs.values()))
    for step in steps:
        if step.id in known:
            raise PipelineError(f"step id {step.id!r} is used twice: every id must be unique, and no input's name")
        fields = [_volume(known, name, step.id) for name in step.sources] or [latest]
        site = Site(step.id, known)
        if step.mask:
            result = build_masked(step.op, fields, _volume(known, step.mask, step.id, "mask"), site)
        else:
            result = step.op.build(fields, site)
        known[step.id] = built.results[step.id] = result
        if isinstance(result, Field):
            latest = result
        else:
            built.reductions.append(result)
    for name in save:
        if name not in built.results:
            raise PipelineError(f"save: {unknown('step', name, built.results)}")
    volumes = [name for name, result in built.results.items() if isinstance(result, Field)]
    chosen = list(dict.fromkeys(save)) or ([] if built.reductions else volumes[-1:])
    for name in chosen:
        result = built.results[name]
        if isinstance(result, Field):
            built.writes.append(Write(result, str(folder / f"{name}.ome.zarr"), "asked for under save"))
    return built


def _volume(known: Mapping[str, Result], name: str, where: str, key: str = "from") -> Field:
    if name not in known:
        raise PipelineError(f"step {where!r}: {key}: {unknown('step or input', name, known)}")
    result = known[name]
    if not isinstance(result, Field):
        raise PipelineError(
            f"step {where!r}: {name!r} gives values or a table, not a volume: name another step in `{key}`"
        )
    return result

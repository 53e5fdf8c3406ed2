"""The pipeline object: define, plan, run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bigseg.engine.folder import RunFolder
from bigseg.engine.lock import Lock
from bigseg.engine.plan import Plan, make_plan
from bigseg.engine.run import Observer
from bigseg.engine.source import source_field
from bigseg.engine.work import Limits
from bigseg.errors import OutputError, PipelineError
from bigseg.grid import Grid, Shape
from bigseg.ops.base import Op
from bigseg.pipeline.build import Built, build
from bigseg.pipeline.planning import Resources, local_resources, plan_for
from bigseg.pipeline.preview import Preview, preview
from bigseg.pipeline.recipes import find_pipeline
from bigseg.pipeline.running import Prepared, Run, Settings, Start, choose_executor, run_prepared
from bigseg.pipeline.steps import Step, parse, parse_file
from bigseg.storage.chunks import check_source
from bigseg.storage.sources.opening import Origin, open_source
from bigseg.storage.volume import Volume

Input = str | Path | Origin


class Pipeline:
    """Steps from a volume to masks, labels and tables.

    Parameters
    ----------
    steps : operations in order, or ``Step`` objects with ids and sources; an operation's id defaults to its
        name, with a number where it occurs again.
    save : ids of the steps to store; by default the last volume, if no step makes a table.

    Raises
    ------
    PipelineError
        When ids repeat or ``save`` names no step.

    >>> import bigseg
    >>> pipe = bigseg.Pipeline([bigseg.Gaussian(sigma=1.0), bigseg.Threshold(above=10)])
    >>> [step.id for step in pipe.steps]
    ['gaussian', 'threshold']
    """

    def __init__(self, steps: Sequence[Op | Step], save: Sequence[str] = ()) -> None:
        self.steps: list[Step] = []
        for item in steps:
            if isinstance(item, Op):
                taken = {step.id for step in self.steps}
                names = [item.op, *(f"{item.op}-{n}" for n in range(2, len(steps) + 2))]
                item = Step(next(name for name in names if name not in taken), item)
            self.steps.append(item)
        self.save = list(save)

    @classmethod
    def load(cls, path: str | Path, changes: Sequence[str] = ()) -> Pipeline:
        """Read a pipeline file, or a ready recipe by its name; ``changes`` are ``"step.parameter=value"``."""
        return cls(*parse_file(find_pipeline(path), changes))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Pipeline:
        """From the content of a pipeline file."""
        return cls(*parse(data))

    def as_dict(self) -> dict[str, Any]:
        """The content of the pipeline's file."""
        return {"version": 1, "steps": [step.as_dict() for step in self.steps], "save": self.save}

    def yaml(self) -> str:
        """The pipeline as a file's text."""
        return str(yaml.safe_dump(self.as_dict(), sort_keys=False))

    def build(self, inputs: Input | Mapping[str, Input], folder: Path) -> tuple[Built, dict[str, Origin]]:
        """Open the inputs (metadata only) and connect the steps."""
        named = dict(inputs) if isinstance(inputs, Mapping) else {"input": inputs}
        origins = {name: open_source(item) if isinstance(item, (str, Path)) else item for name, item in named.items()}
        fields = {name: source_field(name, origin) for name, origin in origins.items()}
        fields.setdefault("input", next(iter(fields.values())))
        if any(step.id in fields for step in self.steps):
            raise PipelineError("a step has the id of an input: rename the step")
        return build(self.steps, self.save, fields, folder), origins

    def prepare(
        self, inputs: Input | Mapping[str, Input], out: str | Path, settings: Settings, resources: Resources
    ) -> Prepared:
        """Everything before the first voxel: open, connect, plan; refuses what does not fit."""
        folder = RunFolder(Path(os.path.abspath(out)))
        built, origins = self.build(inputs, folder.path)
        shape = next(iter(origins.values())).spec.shape

        def make(block: Shape, brick: Shape, limits: Limits) -> Plan:
            return make_plan(
                built.writes,
                built.reductions,
                grid=Grid(shape, block),
                folder=folder.path,
                limits=limits,
                brick=brick,
            )

        block = settings.block or (None if settings.restart else folder.block())
        plan = plan_for(make, shape, resources, block)
        return Prepared(built, origins, plan, folder, resources, settings)

    def plan(self, inputs: Input | Mapping[str, Input], **settings: Any) -> Plan:
        """The costed list of stages for a volume, without running it; ``settings`` as of `run`."""
        chosen = Settings(**settings | {"restart": True})
        return self.prepare(inputs, "run", chosen, local_resources(chosen.workers, chosen.memory)).plan

    def preview(
        self, inputs: Input | Mapping[str, Input], z: int | None = None, planes: int = 17, *, side: int = 1024
    ) -> Preview:
        """A picture of one plane under every step, computed on a small piece around it.

        Parameters
        ----------
        inputs : as of `run`.
        z : the plane, by default the middle; 2-D images have none.
        planes : how many planes are computed, the one shown in their middle.
        side : longest side of the piece in y and x, in voxels; cut from the middle.

        Returns
        -------
        The picture (PNG, shown by notebooks) and a note on what it was computed from.

        Raises
        ------
        ParameterError
            When there is no such plane.
        """
        return preview(self, inputs, z, planes, side)

    def run(
        self,
        inputs: Input | Mapping[str, Input],
        out: str | Path,
        *,
        observe: Observer = lambda summary, done, units: None,
        **settings: Any,
    ) -> Run:
        """Run on a volume, or continue where an earlier run of the same was stopped.

        Parameters
        ----------
        inputs : path of a volume (OME-Zarr, Zarr, TIFF, NPY), or a dict of several with names.
        out : the run's folder.
        settings : the fields of `Settings`.

        Returns
        -------
        The finished run: its outputs, tables, values and report.

        Raises
        ------
        BigsegError
            One of its kinds for everything that is refused or fails; finished blocks are kept.
        """
        prepared, start = self.check(inputs, out, Settings(**settings))
        return run_prepared(self.as_dict(), prepared, start, observe)

    def check(self, inputs: Input | Mapping[str, Input], out: str | Path, settings: Settings) -> tuple[Prepared, Start]:
        """All that can be refused before the first voxel is read; then clears the folder where that was asked for.

        Returns
        -------
        What `run_prepared` runs, and what starts its executor.
        """
        folder = RunFolder(Path(os.path.abspath(out)))
        folder.refuse_foreign()
        resources, start = choose_executor(settings)
        prepared = self.prepare(inputs, out, settings, resources)
        for origin in prepared.origins.values():
            if isinstance(origin, Volume):
                if folder.path.is_relative_to(origin.path):
                    raise OutputError(f"{folder.path} lies in the input {origin.path}: give a folder outside of it")
                check_source(origin)
        if settings.restart and folder.path.exists():
            with Lock(folder.lock):
                folder.clear()
        return prepared, start

"""The pipeline object: define, plan, run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bigseg.engine.folder import RunFolder
from bigseg.engine.lock import Lock
from bigseg.engine.plan import make_plan
from bigseg.engine.resampled import Resampling
from bigseg.engine.run import Observer
from bigseg.engine.source import place, source_field, stored
from bigseg.engine.stage import Plan
from bigseg.engine.work import Limits
from bigseg.errors import OutputError, PipelineError
from bigseg.grid import Grid, Shape
from bigseg.ops.base import Op
from bigseg.pipeline.apart import lies_in, refuse_shared
from bigseg.pipeline.arrays import here
from bigseg.pipeline.build import Built, build
from bigseg.pipeline.code import with_code
from bigseg.pipeline.geometry import Input, open_inputs
from bigseg.pipeline.kept import Kept
from bigseg.pipeline.planning import Resources, local_resources, plan_for
from bigseg.pipeline.prepared import Prepared, Settings, Start, choose_executor
from bigseg.pipeline.recipes import find_pipeline
from bigseg.pipeline.result import Run
from bigseg.pipeline.running import run_prepared
from bigseg.pipeline.steps import Step, parse, parse_file
from bigseg.storage.chunks import check_source
from bigseg.storage.roi import Roi
from bigseg.storage.sources.opening import Origin
from bigseg.storage.volume import Volume

if TYPE_CHECKING:
    from bigseg.pipeline.preview import Preview


class Pipeline:
    """Steps from a volume to masks, labels and tables.

    Parameters
    ----------
    steps : operations in order, or ``Step`` objects with ids and sources; an operation's id defaults to its
        name, with a number where it occurs again.
    save : ids of the steps to store; by default the last volume, if no step makes a table.
    keep_components : keep the rows of all components in the run's folder, so that `bigseg.tune` can answer what other
        seeds, sizes and selections would give, and make the new volumes in one pass.

    Raises
    ------
    PipelineError
        When ids repeat or ``save`` names no step.

    >>> import bigseg
    >>> pipe = bigseg.Pipeline([bigseg.Gaussian(sigma=1.0), bigseg.Threshold(above=10)])
    >>> [step.id for step in pipe.steps]
    ['gaussian', 'threshold']
    """

    def __init__(self, steps: Sequence[Op | Step], save: Sequence[str] = (), keep_components: bool = False) -> None:
        self.keep_components = keep_components
        self.steps: list[Step] = []
        for item in steps:
            if isinstance(item, Op):
                taken = {step.id for step in self.steps}
                names = [item.op, *(f"{item.op}-{n}" for n in range(2, len(steps) + 2))]
                item = Step(next(name for name in names if name not in taken), item)
            self.steps.append(item)
        self.save = list(save)

    @classmethod
    def load(cls, path: str | Path, changes: Sequence[str] = (), *, allow_code: bool = False) -> Pipeline:
        """Read a pipeline file, or a ready recipe by its name.

        Parameters
        ----------
        path : of the file, or the recipe's name.
        changes : ``"step.parameter=value"``.
        allow_code : whether the functions that ``map_block`` steps name may be loaded and run. They can do anything
            that you can: allow it only for files that you trust.

        Raises
        ------
        PipelineError
            When the file is no pipeline, or names code that is not allowed.
        """
        found = find_pipeline(path)
        steps, save, keep = parse_file(found, changes)
        return cls(with_code(steps, allow_code, found.parent), save, keep)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, allow_code: bool = False) -> Pipeline:
        """From the content of a pipeline file; ``allow_code`` as in `load`."""
        steps, save, keep = parse(data)
        return cls(with_code(steps, allow_code), save, keep)

    def as_dict(self) -> dict[str, Any]:
        """The content of the pipeline's file."""
        found = {"version": 1, "steps": [step.as_dict() for step in self.steps], "save": self.save}
        return found | {"keep_components": True} if self.keep_components else found

    def yaml(self) -> str:
        """The pipeline as a file's text."""
        return str(yaml.safe_dump(self.as_dict(), sort_keys=False))

    def build(self, inputs: Input | Mapping[str, Input], folder: Path) -> tuple[Built, dict[str, Origin]]:
        """Open the inputs (metadata only) and connect the steps."""
        origins = open_inputs(inputs)
        fields = {name: source_field(name, origin) for name, origin in origins.items()}
        fields.setdefault("input", next(iter(fields.values())))
        if any(step.id in fields for step in self.steps):
            raise PipelineError("a step has the id of an input: rename the step")
        built = build(self.steps, self.save, fields, folder)
        if self.keep_components:
            for objects in built.sets():
                objects.keep()
        return built, origins

    def prepare(
        self,
        inputs: Input | Mapping[str, Input],
        out: str | Path,
        settings: Settings,
        resources: Resources,
        kept: Kept | None = None,
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
                held=kept.held(built) if kept else (),
            )

        block = settings.block or (None if settings.restart else folder.block(len(shape)))
        plan = plan_for(make, shape, resources, block)
        return Prepared(built, origins, plan, folder, resources, settings, kept)

    def plan(
        self,
        inputs: Input | Mapping[str, Input],
        *,
        roi: Roi | None = None,
        resample: Resampling | None = None,
        **settings: Any,
    ) -> Plan:
        """The costed list of stages for a volume, without running it; parameters as of `run`."""
        origins = open_inputs(inputs, roi, resample)
        chosen = here(origins.values(), Settings.of(settings | {"restart": True}))
        resources = local_resources(chosen.workers, chosen.memory)
        return self.prepare(origins, "run", chosen, resources).plan

    def preview(
        self,
        inputs: Input | Mapping[str, Input],
        z: int | None = None,
        planes: int = 17,
        *,
        side: int = 1024,
        roi: Roi | None = None,
        resample: Resampling | None = None,
    ) -> Preview:
        """A picture of one plane under every step, computed on a small piece around it.

        Parameters
        ----------
        inputs : as of `run`.
        z : the plane, by default the middle; 2-D images have none.
        planes : how many planes are computed, the one shown in their middle.
        side : longest side of the piece in y and x, in voxels; cut from the middle.
        roi, resample : as of `run`; planes are counted within the region.

        Returns
        -------
        The picture (PNG, shown by notebooks) and a note on what it was computed from.

        Raises
        ------
        ParameterError
            When there is no such plane.
        """
        from bigseg.pipeline.preview import preview  # pictures need matplotlib, which takes a second to load

        return preview(self, open_inputs(inputs, roi, resample), z, planes, side)

    def run(
        self,
        inputs: Input | Mapping[str, Input],
        out: str | Path,
        *,
        roi: Roi | None = None,
        resample: Resampling | None = None,
        observe: Observer = lambda summary, done, units: None,
        **settings: Any,
    ) -> Run:
        """Run on a volume, or continue where an earlier run of the same was stopped.

        Parameters
        ----------
        inputs : path of a volume (OME-Zarr, Zarr, TIFF, NPY), what `bigseg.open_volume` gives, an array in memory
            (computed in this process unless workers are given), or a dict of several with names.
        out : the run's folder.
        roi : the part of the volume that is computed on, as a volume of its own: ``"100:200,:,0.5mm:1mm"`` or one
            slice or pair for each axis. Outputs lie in the whole volume's coordinates.
        resample : the voxel size that is computed at: ``"5 um"``, ``"50%"``, or a mapping with ``spacing``,
            ``interpolation`` and ``anti_alias``.
        settings : the fields of `Settings`.

        Returns
        -------
        The finished run: its outputs, tables, values and report.

        Raises
        ------
        BigsegError
            One of its kinds for everything that is refused or fails; finished blocks are kept.
        """
        origins = open_inputs(inputs, roi, resample)
        prepared, start = self.check(origins, out, here(origins.values(), Settings.of(settings)))
        return run_prepared(self.as_dict(), prepared, start, observe)

    def check(
        self, inputs: Input | Mapping[str, Input], out: str | Path, settings: Settings, kept: Kept | None = None
    ) -> tuple[Prepared, Start]:
        """All that can be refused before the first voxel is read; then clears the folder where that was asked for.

        ``kept`` : the components of an earlier run, which need not be found again.

        Returns
        -------
        What `run_prepared` runs, and what starts its executor.
        """
        folder = RunFolder(Path(os.path.abspath(out)))
        folder.refuse_foreign()
        resources, start = choose_executor(settings)
        prepared = self.prepare(inputs, out, settings, resources, kept)
        self._refuse_shared(prepared)
        for origin in prepared.origins.values():
            volume, box = stored(origin)
            if isinstance(volume, Volume):
                if lies_in(folder.path, volume.path):
                    raise OutputError(f"{folder.path} lies in the input {volume.path}: give a folder outside of it")
                check_source(volume, box)
        if settings.restart and folder.path.exists():
            with Lock(folder.lock):
                folder.clear()
        return prepared, start

    def _refuse_shared(self, prepared: Prepared) -> None:
        """Refuse a folder whose run would replace what this one reads: inputs, models, a finished run's components."""
        folder = prepared.folder
        read = [place(origin) for origin in prepared.origins.values()]
        read += [os.path.abspath(name) for step in self.steps for name in step.op.files()]
        if prepared.kept is not None:
            parent = prepared.kept.folder.parent
            if os.path.realpath(parent) == os.path.realpath(folder.path):
                raise OutputError(f"{folder.path} is the finished run itself, which never changes: give another folder")
            read.append(str(parent))
        refuse_shared(read, [*folder.made(), *(Path(write.path) for write in prepared.built.writes)])

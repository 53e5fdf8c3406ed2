"""Late binding: what other seeds, sizes and selections would give, answered from the components that a run kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bigseg.engine.field import Array, Field, Workspace
from bigseg.engine.folder import RunFolder
from bigseg.engine.run import Observer
from bigseg.errors import PipelineError
from bigseg.grid import Grid
from bigseg.ops.components.choosing import FindLimits, View, holds
from bigseg.ops.components.volume import Seen
from bigseg.pipeline.kept import Kept, kept_of
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.prepared import Prepared, Settings, Start
from bigseg.pipeline.record import check_inputs, inputs_again
from bigseg.pipeline.result import Run
from bigseg.pipeline.running import run_prepared
from bigseg.pipeline.steps import Definition, parse
from bigseg.storage.scratch import Scratch
from bigseg.storage.sources.opening import Origin

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Found:
    """The objects that a step would show.

    Parameters
    ----------
    objects : their number.
    num_pixels : voxels of all.
    volume : the same, physical (in 2-D the area).
    unit : of the spacing, "" where it is not known.
    sizes, counts : every size in voxels that occurs, and how many objects have it.
    """

    objects: int
    num_pixels: int
    volume: float
    unit: str
    sizes: Array = field(repr=False)
    counts: Array = field(repr=False)

    def quantile(self, share: float) -> int:
        """The size in voxels that this share of the objects does not exceed; 0 where there are none."""
        if not self.objects:
            return 0
        place = int(np.searchsorted(np.cumsum(self.counts), max(1, int(np.ceil(share * self.objects)))))
        return int(self.sizes[place])


@dataclass
class Tuned:
    """A finished run under changed parameters: answers without a pass, and the run that would write them."""

    folder: RunFolder
    pipeline: Pipeline
    changes: tuple[str, ...]

    @cached_property
    def kept(self) -> Kept:
        """What the run kept."""
        return kept_of(self.folder)

    @cached_property
    def record(self) -> dict[str, Any]:
        """The run's record."""
        return self.folder.read() or {}

    @cached_property
    def inputs(self) -> dict[str, Origin]:
        """The run's inputs, opened again."""
        return inputs_again(self.folder, self.record)

    @cached_property
    def steps(self) -> dict[str, Found]:
        """What every step shows whose components were kept.

        Raises
        ------
        PipelineError
            When a change decides which components there are.
        """
        built, _ = self.pipeline.build(self.inputs, self.folder.path)
        held = self.kept.held(built)
        seen = {name: item.tag for name, item in built.results.items() if isinstance(item, Field)}
        known = {name: tag for name, tag in seen.items() if isinstance(tag, Seen)}
        if anew := [name for name, tag in known.items() if tag.objects.collect.name not in held]:
            raise PipelineError(
                f"{', '.join(self.changes)}: with this, step {anew[0]!r} finds other components than "
                f"{self.folder.path} kept: only seeds, sizes and selections can change without a pass; use bigseg run"
            )
        if not known:
            raise PipelineError(f"the pipeline of {self.folder.path} has no step that shows objects")
        return {name: self._found(tag) for name, tag in known.items()}

    def _found(self, seen: Seen) -> Found:
        objects, spec = seen.objects, seen.objects.spec
        block = tuple(self.record["block"])
        space = Workspace(Grid(spec.shape, block), Scratch(str(self.kept.folder)), self.folder.path)
        shelves = objects.ids.shelves
        views = (View(seen.view.shown, seen.view.shown),)
        limits = FindLimits("limits", shelves, views).bind(self.kept.values)
        told = limits.reduce(0, space) if limits.asked() else {}
        (view,) = limits.views
        chain = view.limited(limits.limits({"limits": told})).shown
        sizes, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
        for rows in shelves.rows(space, [chain], ["size"]):
            if rows:
                own, times = np.unique(rows["size"][holds(chain, rows, len(rows["size"]))], return_counts=True)
                sizes, place = np.unique(np.concatenate([sizes, own]), return_inverse=True)
                counts = np.bincount(place, np.concatenate([counts, times]), len(sizes)).astype(np.int64)
        voxels = int(sizes @ counts)
        return Found(int(counts.sum()), voxels, voxels * prod(spec.spacing), spec.unit, sizes, counts)

    def rows(self) -> dict[str, dict[str, Any]]:
        """By step: objects, voxels, volume, and the distribution of sizes."""
        return {
            name: {
                "objects": found.objects,
                "num_pixels": found.num_pixels,
                "volume": found.volume,
                "smallest": found.quantile(0.0),
                "median": found.quantile(0.5),
                "p95": found.quantile(0.95),
                "largest": found.quantile(1.0),
            }
            for name, found in self.steps.items()
        }

    def table(self) -> pd.DataFrame:
        """The same as a DataFrame, one row a step."""
        import pandas as pd  # which takes half a second to load

        return pd.DataFrame.from_dict(self.rows(), orient="index").rename_axis("step")

    def _repr_html_(self) -> str:
        return str(self.table().to_html())

    def run(self, out: str | Path, *, observe: Observer = lambda summary, done, units: None, **settings: Any) -> Run:
        """Make the new volumes and tables in a folder of their own: one pass, as nothing is labelled anew.

        Parameters
        ----------
        out : the new run's folder; the finished run's own folder never changes.
        settings : as of `Pipeline.run`, but for the block, which is that of the finished run.

        Raises
        ------
        ChangedError
            When an input is no longer what the finished run has read: its components would meet other voxels.
        """
        prepared, start = self.prepare(out, **settings)
        return run_prepared(self.pipeline.as_dict(), prepared, start, observe)

    def prepare(self, out: str | Path, **settings: Any) -> tuple[Prepared, Start]:
        """All that `run` can refuse before a voxel is read."""
        _ = self.steps
        check_inputs(self.folder, self.inputs)
        chosen = Settings.of(settings | {"block": tuple(self.record["block"])})
        return self.pipeline.check(self.inputs, out, chosen, self.kept)


def tune(folder: str | Path, changes: Mapping[str, Any] | Sequence[str] = ()) -> Tuned:
    """What a finished run would show with other seeds, sizes or selections, answered from its kept components.

    Parameters
    ----------
    folder : of a finished run whose pipeline says ``keep_components: true``.
    changes : ``{"voids.low": 60}``, or ``"voids.low=60"`` as on the command line. What can be changed: the seed
        threshold of a hysteresis (``high`` with polarity above, ``low`` with below), ``min_size``, ``max_size``, ``k``,
        ``buffer_size``, ``expression``, ``relabel``, and everything that comes after.

    Returns
    -------
    Tuned : ``steps`` (number, volume and sizes of the objects of each step), ``table()``, ``run(out)``.

    Raises
    ------
    OutputError
        When there is no such run, or it kept no components.
    PipelineError
        When a change names no parameter.
    """
    path = RunFolder(Path(folder).absolute())
    kept_of(path)
    record = path.read() or {}
    pairs = changes.items() if isinstance(changes, Mapping) else ()
    texts = [f"{key}={json.dumps(value)}" for key, value in pairs] or list(changes)
    found: Definition = parse(record["pipeline"], str(folder), tuple(texts))
    return Tuned(path, Pipeline(found.steps, found.save, found.keep_components), tuple(texts))


def tune_slider(folder: str | Path, parameter: str, low: float, high: float, step: float = 1.0) -> Any:
    """A slider in a notebook that shows what each value of a parameter would give, at once; needs ipywidgets.

    Parameters
    ----------
    folder : of a finished run with kept components.
    parameter : ``"voids.low"``.
    low, high, step : of the slider.
    """
    try:
        from ipywidgets import FloatSlider, interactive
    except ImportError as error:
        raise ImportError("the slider needs ipywidgets: pip install ipywidgets") from error
    slider = FloatSlider(min=low, max=high, step=step, value=low, description=parameter, continuous_update=False)
    return interactive(lambda value: tune(folder, {parameter: value}).table(), value=slider)

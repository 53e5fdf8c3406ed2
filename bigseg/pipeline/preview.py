"""Preview: one plane under every step, computed on a piece of the volume that takes seconds.

The piece is a slab around the plane, cut from the middle in y and x, grown by the depth of the filters: so
filters show there what they will show in the whole volume. Global steps see only the piece, and the note says so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigseg.engine.field import Field
from bigseg.engine.source import Cropped, read_box
from bigseg.engine.visit import depths, ordered
from bigseg.errors import InputError, ParameterError, PipelineError, UsageError
from bigseg.grid import Box, Shape
from bigseg.pipeline.build import Built
from bigseg.report.pictures import Panel, draw_panels
from bigseg.storage.durable import fleeting
from bigseg.storage.sources.opening import Origin
from bigseg.storage.spec import Spec
from bigseg.storage.volume import Volume

if TYPE_CHECKING:
    from bigseg.pipeline.geometry import Input
    from bigseg.pipeline.pipeline import Pipeline
    from bigseg.pipeline.result import Run
    from bigseg.pipeline.steps import Step


@dataclass(frozen=True)
class Preview:
    """What `Pipeline.preview` gives: notebooks show the picture.

    Parameters
    ----------
    picture : PNG.
    note : what was computed, and what may differ in the whole volume.
    values : thresholds and other values, found on the piece.
    """

    picture: bytes = field(repr=False)
    note: str
    values: dict[str, Any]

    def _repr_png_(self) -> bytes:
        return self.picture


def preview(pipeline: Pipeline, inputs: Input | Mapping[str, Input], z: int | None, planes: int, side: int) -> Preview:
    """See `Pipeline.preview`."""
    if planes < 1 or side < 1:
        raise ParameterError(f"planes {planes}, side {side}: expected 1 or more")
    with tempfile.TemporaryDirectory(prefix="bigseg-preview-") as name:
        folder = Path(name)
        built, origins = pipeline.build(inputs, folder)
        spec = next(iter(origins.values())).spec
        plane = _plane(spec, z)
        shown = _window(spec.shape, plane, side)
        piece = _slab(spec.shape, shown, planes).grow(_reach(built, spec.ndim), spec.shape)
        cropped = {name: Cropped(origin, piece) for name, origin in origins.items()}
        volumes = [name for name, result in built.results.items() if isinstance(result, Field)]
        if not volumes:
            raise PipelineError("no step of this pipeline gives a volume: there is nothing to show")
        run = _run(pipeline, volumes, piece, spec, cropped, folder / "run")
        within = Box(*(tuple(a - o for a, o in zip(corner, piece.start, strict=True)) for corner in shown))
        panels = [_panel(name, origin, shown) for name, origin in origins.items()]
        for name in volumes:
            step = next(step for step in pipeline.steps if step.id == name)
            title = name if name == step.op.op else f"{name} ({step.op.op})"
            panels.append(_panel(title, Volume.open(run.path / f"{name}.ome.zarr"), within))
        where = "the image" if plane is None else f"plane {plane} of {spec.shape[0]}"
        return Preview(draw_panels(panels, where), _note(pipeline, built, spec, where, piece), run.values)


def _run(
    pipeline: Pipeline, save: list[str], piece: Box, spec: Spec, inputs: Mapping[str, Cropped], folder: Path
) -> Run:
    """The pipeline on the piece alone."""
    try:
        steps = [_moved(step, piece, spec) for step in pipeline.steps]
        with fleeting():
            return type(pipeline)(steps, save).run(inputs, folder, workers=0, report=False)
    except (InputError, UsageError) as error:
        if piece == Box.whole(spec.shape):
            raise
        seen = f"a preview looks at voxels {_ranges(piece)} alone: try another plane, more planes or a larger side"
        raise type(error)(f"{error}; {seen}") from error


def _moved(step: Step, piece: Box, spec: Spec) -> Step:
    """A step with the regions that it names in the piece."""
    try:
        return replace(step, op=step.op.in_piece(piece, spec))
    except ParameterError as error:
        raise ParameterError(f"step {step.id!r}: {error}") from error


def _ranges(box: Box) -> str:
    return " x ".join(f"{a}:{b}" for a, b in zip(*box, strict=True))


def _plane(spec: Spec, z: int | None) -> int | None:
    """The plane to show; None for a 2-D image."""
    if spec.ndim == 2:
        if z is not None:
            raise ParameterError(f"z {z}: the image is 2-D and has no planes; leave z out")
        return None
    count = spec.shape[0]
    if z is None:
        return count // 2
    if not 0 <= z < count:
        raise ParameterError(f"z {z}: expected a plane from 0 to {count - 1}")
    return z


def _window(shape: Shape, plane: int | None, side: int) -> Box:
    """The part of the plane that is shown: all of it, or its middle."""
    flat = shape[-2:]
    start = tuple(max(0, (n - side) // 2) for n in flat)
    stop = tuple(min(n, a + side) for n, a in zip(flat, start, strict=True))
    return Box(start, stop) if plane is None else Box((plane, *start), (plane + 1, *stop))


def _slab(shape: Shape, shown: Box, planes: int) -> Box:
    """The window with planes on both sides, moved where it meets the volume's end."""
    if len(shape) == 2:
        return shown
    first = min(max(0, shown.start[0] - planes // 2), max(0, shape[0] - planes))
    return Box((first, *shown.start[1:]), (min(shape[0], first + planes), *shown.stop[1:]))


def _reach(built: Built, ndim: int) -> Shape:
    """How far the filters of the pipeline look, added up."""
    fields = [result for result in built.results.values() if isinstance(result, Field)]
    reach = depths(ordered(fields), ndim).values()
    return tuple(max(items) for items in zip(*reach, strict=True))


def _panel(name: str, origin: Origin | Volume, box: Box) -> Panel:
    """A plane of a volume as y, x under its name."""
    array = read_box(origin, box)
    spec = origin.spec
    rows, columns = spec.spacing[-2:]
    return Panel(name, array.reshape(box.shape[-2:]), spec.kind, (rows, columns), spec.unit, spec.classes)


def _placed(built: Built) -> bool:
    """Whether the place of a voxel is a feature of it."""
    fields = ordered([result for result in built.results.values() if isinstance(result, Field)])
    stacks = [field.kernel.stack for field in fields if hasattr(field.kernel, "stack")]
    return any(item.kind == "position" for stack in stacks for item in stack.filters)


def _note(pipeline: Pipeline, built: Built, spec: Spec, where: str, piece: Box) -> str:
    """What was computed from what, and what that means."""
    if piece == Box.whole(spec.shape):
        return f"{where}, computed from the whole volume: this is the result"
    text = f"{where}, computed from voxels {_ranges(piece)} alone"
    if _placed(built):
        text += "; positions, which are features here, count from its corner and not from the volume's"
    seen = [step.id for step in pipeline.steps if not step.op.local]
    if not seen:
        return text if _placed(built) else f"{text}; every step is local: this is the result"
    return (
        f"{text}: {', '.join(seen)} saw only these, so thresholds, objects that reach beyond, their sizes and numbers "
        "may differ in the whole volume; filters are as in the whole"
    )

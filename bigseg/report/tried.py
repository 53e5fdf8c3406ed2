"""Thresholds that were tried on one volume, and the picture of a plane under each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bigseg.engine.source import read_box
from bigseg.errors import ParameterError, ValuesError
from bigseg.grid import Box
from bigseg.local.thresholds.compare import between
from bigseg.report.pictures import Panel, draw_panels
from bigseg.report.planes import middle_boxes, middle_part, place_of
from bigseg.report.wording import number
from bigseg.storage.sources.opening import Origin
from bigseg.storage.spec import Spec

SIDE = 480
"""Longest side of each plane in the picture, in pixels."""


@dataclass(frozen=True)
class Row:
    """A method: its thresholds, the share of voxels above each, or why it found none."""

    method: str
    values: tuple[float, ...] = ()
    above: tuple[float, ...] = ()
    failed: str = ""


@dataclass(frozen=True)
class Tried:
    """Every method's row."""

    rows: tuple[Row, ...]

    @classmethod
    def of(cls, values: Mapping[str, Any], names: Mapping[str, Sequence[str]]) -> Tried:
        """From what ``try_all`` found; ``names`` are those of each method's thresholds.

        >>> Tried.of({"otsu": 7, "fractions": {"otsu": 0.25}, "failed": {}}, {"otsu": ["otsu"]}).rows
        (Row(method='otsu', values=(7,), above=(0.25,), failed=''),)
        """
        rows = []
        for method, keys in names.items():
            if method in values["failed"]:
                rows.append(Row(method, failed=values["failed"][method]))
            else:
                shares = tuple(values["fractions"][key] for key in keys)
                rows.append(Row(method, tuple(values[key] for key in keys), shares))
        return cls(tuple(rows))

    def as_dict(self) -> dict[str, Any]:
        """For machines: a document a method, without what it does not have."""
        return {
            "methods": [
                {key: item for key, item in asdict(row).items() if item != "" and item != ()} for row in self.rows
            ]
        }


def threshold_picture(origin: Origin, found: Tried, z: int | None = None) -> tuple[bytes, str]:
    """One plane of a volume, and its mask above every threshold.

    Parameters
    ----------
    origin : the volume.
    found : the thresholds.
    z : the plane, by default the middle; 2-D images have none. Of a large plane the middle is shown.

    Returns
    -------
    PNG, and where the plane lies, in words.

    Raises
    ------
    ParameterError
        When there is no such plane.
    ValuesError
        When no method found a threshold.
    """
    spec = origin.spec
    axis, box = plane_shown(spec, z)
    plane = read_box(origin, box).reshape(box.shape[-2:])
    where = place_of(axis, box, spec)
    rows, columns = spec.spacing[-2:]
    panels = [Panel("input", plane, "image", (rows, columns), spec.unit)]
    for row in found.rows:
        for k, (value, share) in enumerate(zip(row.values, row.above, strict=True), start=1):
            name = row.method if len(row.values) == 1 else f"{row.method} {k}"
            title = f"{name}  {number(value)}  ({100 * share:.3g} % above)"
            panels.append(Panel(title, between(plane, above=value), "mask", (rows, columns), spec.unit))
    if len(panels) == 1:
        raise ValuesError("no method found a threshold: there is no picture to draw")
    return draw_panels(panels, where, SIDE, overlay=False), where


def plane_shown(spec: Spec, z: int | None = None) -> tuple[str, Box]:
    """The axis and the box of the plane in the picture, by default the middle.

    Raises
    ------
    ParameterError
        When there is no such plane.
    """
    axis, box = next(iter(middle_boxes(spec).items()))
    if z is not None:
        if spec.ndim == 2:
            raise ParameterError(f"z {z}: the image is 2-D and has no planes; leave z out")
        if not 0 <= z < spec.shape[0]:
            raise ParameterError(f"z {z}: expected a plane from 0 to {spec.shape[0] - 1}")
        box = Box((z, *box.start[1:]), (z + 1, *box.stop[1:]))
    return axis, middle_part(box)

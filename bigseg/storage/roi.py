"""The part of a volume that is computed on, as people write it: ``100:200, :, 0.5mm:1mm``.

One range an axis, as in Python: half open, an empty end means the volume's, a negative one counts from behind.
A length with a unit is measured from the volume's first edge and rounded to the nearest edge between voxels.
Unlike in Python a range that reaches beyond the volume is refused: it was meant for another one.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import floor
from typing import Any

from bigseg.errors import ParameterError
from bigseg.grid import Box
from bigseg.storage.spec import Spec
from bigseg.storage.units import parse_length, voxels

Roi = str | Box | Sequence[Any]
"""A text, a box, or for each axis a slice, a pair of ends or a text."""


def parse_roi(roi: Roi, spec: Spec) -> Box:
    """The box that a region of interest means in a volume.

    Parameters
    ----------
    roi : ``"0:100,:,-50:"``, a Box, or one range for each axis: a slice, ``(start, stop)`` or a text.
    spec : of the volume; lengths need its spacing and unit.

    Raises
    ------
    ParameterError
        When it is no such thing, is empty, or reaches beyond the volume.

    Examples
    --------
    >>> import numpy as np
    >>> spec = Spec((10, 20), np.dtype("uint8"), ("y", "x"), (2.0, 2.0), "micrometer")
    >>> parse_roi("-4:, 10um:0.03mm", spec)
    Box(start=(6, 5), stop=(10, 15))
    >>> parse_roi((slice(2, 3), (None, 5)), spec)
    Box(start=(2, 0), stop=(3, 5))
    """
    if isinstance(roi, Box):
        ranges: list[Any] = list(zip(*roi, strict=True))
    elif isinstance(roi, str):
        ranges = roi.strip().strip("[]()").split(",")
    else:
        ranges = list(roi)
    if len(ranges) != spec.ndim:
        example = ",".join(f"{axis}0:{axis}1" for axis in spec.axes)
        raise ParameterError(
            f"roi {_shown(roi)}: expected {spec.ndim} ranges, {example}, found {len(ranges)}; `:` is a whole axis"
        )
    start, stop = [], []
    for axis, item in enumerate(ranges):
        n, name = spec.shape[axis], f"roi {_shown(roi)}, {spec.axes[axis]}"
        low, high = _ends(item, name)
        first = _edge(low, 0, axis, spec, name)
        last = _edge(high, n, axis, spec, name)
        if not 0 <= first < last <= n:
            raise ParameterError(
                f"{name}: {first}:{last} holds no voxel or lies outside: expected a range within 0:{n}"
            )
        start.append(first)
        stop.append(last)
    return Box(tuple(start), tuple(stop))


def in_piece(roi: Roi, piece: Box, spec: Spec) -> str | None:
    """A region of a volume as one of a piece of it, where the piece is a volume of its own; None if it holds none.

    >>> import numpy as np
    >>> spec = Spec((10, 20), np.dtype("uint8"), ("y", "x"), (1.0, 1.0))
    >>> in_piece("-4:, :12", Box((5, 10), (8, 20)), spec), in_piece(":5, :", Box((5, 10), (8, 20)), spec)
    ('1:3,0:2', None)
    """
    shared = parse_roi(roi, spec).shared(piece)
    if shared is None:
        return None
    return roi_text(Box(*(tuple(a - o for a, o in zip(ends, piece.start, strict=True)) for ends in shared)))


def roi_text(box: Box) -> str:
    """A box as a region of interest.

    >>> roi_text(Box((6, 5), (10, 15)))
    '6:10,5:15'
    """
    return ",".join(f"{a}:{b}" for a, b in zip(*box, strict=True))


def _ends(item: Any, name: str) -> tuple[Any, Any]:
    if isinstance(item, slice):
        if item.step not in (None, 1):
            raise ParameterError(f"{name}: a step of {item.step}; expected every voxel of a range")
        return item.start, item.stop
    if isinstance(item, str):
        low, colon, high = item.partition(":")
        if not colon or ":" in high:
            raise ParameterError(f"{name}: {item.strip()!r}; expected start:stop, either may be empty")
        return low.strip() or None, high.strip() or None
    if isinstance(item, Sequence) and len(item) == 2:
        return item[0], item[1]
    raise ParameterError(f"{name}: {item!r}; expected a slice, (start, stop) or a text like '10:20'")


def _edge(end: Any, otherwise: int, axis: int, spec: Spec, name: str) -> int:
    """One end as a number of voxels from the volume's first edge."""
    if end is None:
        return otherwise
    if isinstance(end, str):
        length = parse_length(end, name)
        found = voxels(end, spec.spacing[axis], spec.unit) if length.unit else length.value
        if not length.unit and found != floor(found):
            raise ParameterError(f"{name}: {end}; expected a whole number of voxels, or a length with a unit")
        place = floor(found + 0.5)
        negative = end.lstrip().startswith("-")
    else:
        try:
            place = operator.index(end)
        except TypeError as error:
            raise ParameterError(f"{name}: {end!r}; expected a whole number of voxels") from error
        negative = place < 0
    return place + spec.shape[axis] if negative else place


def _shown(roi: Roi) -> str:
    return roi if isinstance(roi, str) else roi_text(roi) if isinstance(roi, Box) else repr(roi)

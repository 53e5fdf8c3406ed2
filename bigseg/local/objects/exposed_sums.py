"""Surface and topology of components: whole numbers added up from the codes of their exposed voxels.

How often lattice lines along each kind of direction pass between an object and what is not it gives its surface
(`bigseg.local.objects.crofton`). The Euler number counts the corners, edges, faces and voxels of the object as a union
of closed cubes (objects that hold together through corners), each of these by the last of its voxels; or, of objects
that hold together through faces only, voxels, pairs, squares and cubes of voxels, each by the first. J. Ohser, W. Nagel
and K. Schladitz (2002), The Euler number of discretized sets. So blocks add up.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bigseg.errors import ParameterError
from bigseg.local.components.bitmask import Array, readable_rows
from bigseg.local.components.block import Components
from bigseg.local.components.words import (
    NONE,
    ONE,
    WORD,
    bundle_of,
    inside,
    kernel,
    lowest,
    runs_of,
    starts_up_to,
    take,
    whole_word,
)
from bigseg.local.objects.exposed import CODES, LATER

Topology = Literal["closed", "open"]
"""How objects hold together: through corners (connectivity ndim), or through faces only (connectivity 1)."""

KINDS = ("x", "y", "yx", "z", "zx", "zy", "zyx")
"""Directions by the axes along which they step; columns 1 to 7 of `sum_exposed`."""

_FIELD = 9  # bits of a kind's count in a packed sum of 64 voxels; the last kind, up to 8 each, has the 10 bits left


def sum_exposed(components: Components, codes: Array, topology: Topology = "closed") -> NDArray[np.int64]:
    """Crossings of lattice lines with the surface of every component, and its Euler number.

    Parameters
    ----------
    components : of the block, from `bigseg.local.components.block.label` or `label_equal`.
    codes : from `bigseg.local.objects.exposed`: `exposed_mask` of the same mask, or `exposed_labels`; of the block's
    shape. topology : for the Euler number.

    Returns
    -------
    int64 of shape (n, 8). Column 0: the component's share of the Euler number. Columns 1 to 7, by `KINDS`: how
    often lines along such directions pass between the component and what is not, both ends of each stretch counted
    if the codes have all neighbours, else one of the two: over a whole object these are as many. Costs 0.1 ns a voxel,
    and 4 ns for each voxel at a surface.

    >>> from bigseg.local.components.bitmask import different
    >>> from bigseg.local.components.block import label
    >>> from bigseg.local.objects.exposed import exposed_mask
    >>> ring = different(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]]))
    >>> sum_exposed(label(ring), exposed_mask(ring, (slice(0, 3), slice(0, 3))))[0, :4].tolist()
    [0, 4, 4, 12]
    """
    if (1, *codes.shape)[-3:] != components.shape or codes.dtype not in (np.uint16, np.uint32):
        raise ParameterError(
            f"codes of shape {codes.shape} and dtype {codes.dtype} over components of a block of {components.shape}: "
            "expected those of exposed_mask or exposed_labels"
        )
    crossings, euler = _tables(topology)
    flat, strides = readable_rows(codes)
    image = flat, strides, np.zeros(WORD, flat.dtype)
    sums = np.zeros((components.n, 1 + len(KINDS)), np.int64)
    tables = crossings, euler, flat.dtype.type(1), flat.dtype.type(np.iinfo(flat.dtype).max)
    _sum(components.words, components.shape, components.runs.bundle, image, tables, sums)
    return sums


@cache
def _tables(topology: Topology) -> tuple[NDArray[np.uint64], NDArray[np.int8]]:
    """What each code of later neighbours adds: a packed count of each kind of direction, and to the Euler number."""
    codes = np.arange(CODES)
    absent: dict[tuple[int, ...], NDArray[np.bool_]] = {
        step: (codes >> bit & 1).astype(bool) for bit, step in enumerate(LATER)
    }
    crossings = np.zeros(CODES, np.uint64)
    for step, gone in absent.items():
        kind = 4 * abs(step[0]) + 2 * abs(step[1]) + abs(step[2]) - 1
        crossings += gone.astype(np.uint64) << np.uint64(_FIELD * kind)
    euler = np.zeros(CODES, np.int64)
    for cell in product((-1, 0, 1), repeat=3):  # the middle of the voxel, of a face, an edge, or a corner
        meeting = [step for step in product(*((0, side) if side else (0,) for side in cell)) if any(step)]
        mine = np.ones(CODES, bool)
        if topology == "closed":
            for voxel in meeting:
                mine &= absent.get(voxel, True)
            euler += np.where(mine, (-1) ** (3 - sum(map(abs, cell))), 0)
        elif min(cell) >= 0:
            for voxel in meeting:
                mine &= ~absent[voxel]
            euler += np.where(mine, (-1) ** sum(cell), 0)
    return crossings, euler.astype(np.int8)


@kernel
def _sum(words: Any, shape: Any, bundle: Any, image: Any, tables: Any, sums: Any) -> None:
    rows, component = words[0], words[3]
    flat, strides, room = image
    crossings, euler, least, most = tables
    nz, ny, _ = shape
    for z in range(nz):
        for y in range(ny):
            number = bundle_of(z, y, ny, bundle)
            for w in range(rows.shape[1]):
                bits = rows[z * ny + y, w]
                if bits == NONE:
                    continue
                codes, at = whole_word(flat, z * strides[0] + y * strides[1] + WORD * w, room)
                bare = inside(codes, at, least, most) & bits
                if bare == NONE:
                    continue
                starts, first = runs_of(words, number, w)
                mine = component[first + starts_up_to(starts, bits)]
                while bits:
                    group, bits, following = take(component, first, starts, bits, mine)
                    group &= bare
                    if group:
                        packed, number_of = NONE, np.int64(0)
                        while group:
                            code = np.int64(codes[at + np.int64(lowest(group))])
                            group &= group - ONE
                            packed += crossings[code & (CODES - 1)] + crossings[code >> 13]
                            number_of += euler[code & (CODES - 1)]
                        item = sums[np.int64(mine) - 1]
                        item[0] += number_of
                        for kind in range(6):
                            item[kind + 1] += np.int64(packed >> np.uint64(_FIELD * kind) & np.uint64(511))
                        item[7] += np.int64(packed >> np.uint64(54))
                    mine = following

"""The table's columns of objects: what their rows, added up over all blocks, amount to."""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import prod

import numpy as np

from bigseg.engine.field import Array
from bigseg.grid import Shape
from bigseg.local.components.unionfind import split_wide
from bigseg.local.objects.crofton import surface
from bigseg.local.objects.exposed_sums import KINDS
from bigseg.local.objects.principal import principal_axes
from bigseg.local.objects.wide import Wide, as_floats, covariances, means
from bigseg.ops.components.measures import EVERY, Measure
from bigseg.ops.components.rows import Rows
from bigseg.storage.spec import Spec


def geometry(rows: Rows, shown: Array, spec: Spec, groups: Collection[str] = EVERY) -> Rows:
    """The table's columns on size, place and shape, as far as the rows have what they are made of.

    Parameters
    ----------
    rows : of all objects, added up over the blocks.
    shown : indices of the objects that get a row.
    spec : of their volume: spacing, origin, extent.
    groups : which groups of columns are computed.
    """
    makers: dict[str, tuple[str, Callable[[Rows, Array, Spec], Rows]]] = {
        "size": ("size", _size),
        "box": ("low-0", _box),
        "centre": ("sum-0", _centre),
        "second": ("second-0-0-high", _second),
        "surface": ("crossings-x", _surface),
    }
    columns: Rows = {}
    for name, (there, maker) in makers.items():
        if name in groups and there in rows:
            columns |= maker(rows, shown, spec)
    return columns


def also_named(columns: Rows) -> Rows:
    """Columns, and under its shorter names what expressions may name so, as far as it is there."""
    names = {"volume": "area", "equivalent_diameter": "equivalent_diameter_area"}
    return columns | {short: columns[name] for short, name in names.items() if name in columns}


def notes_of(spec: Spec) -> dict[str, str]:
    """What lengths and axes of a table are in, for its file."""
    return {"spacing": ",".join(map(repr, spec.spacing)), "unit": spec.unit, "axes": ",".join(spec.axes)}


def _size(rows: Rows, shown: Array, spec: Spec) -> Rows:
    size = rows["size"][shown]
    area = size * float(prod(spec.spacing))
    diameter = np.cbrt(6 * area / np.pi) if spec.ndim == 3 else np.sqrt(4 * area / np.pi)
    return {"num_pixels": size, "area": area, "equivalent_diameter_area": diameter}


def _box(rows: Rows, shown: Array, spec: Spec) -> Rows:
    low = [rows[f"low-{axis}"][shown] for axis in range(spec.ndim)]
    high = [rows[f"high-{axis}"][shown] for axis in range(spec.ndim)]
    columns: Rows = {f"bbox-{k}": column for k, column in enumerate([*low, *high])}
    voxels = np.ones(len(shown), np.int64)
    edge = np.zeros(len(shown), bool)
    for first, last, n in zip(low, high, spec.shape, strict=True):
        voxels *= last - first
        edge |= (first == 0) | (last == n)
    columns["area_bbox"] = voxels * float(prod(spec.spacing))
    if "size" in rows:
        columns["extent"] = rows["size"][shown] / voxels
    return columns | {"touches_edge": edge}


def _centre(rows: Rows, shown: Array, spec: Spec) -> Rows:
    size = rows["size"][shown]
    return {
        f"centroid-{axis}": rows[f"sum-{axis}"][shown] / size * step + origin
        for axis, (step, origin) in enumerate(zip(spec.spacing, spec.origin, strict=True))
    }


def _second(rows: Rows, shown: Array, spec: Spec) -> Rows:
    """Second moments about the centroid, and the axes of the ellipse or ellipsoid that has the same."""
    size, ndim = rows["size"][shown], spec.ndim
    sums = [split_wide(rows[f"sum-{axis}"][shown]) for axis in range(ndim)]
    found: dict[tuple[int, int], Array] = {}
    for a in range(ndim):
        for b in range(a, ndim):
            products = _wide(rows, f"second-{a}-{b}", shown)
            found[a, b] = covariances(sums[a], sums[b], products, size) * (spec.spacing[a] * spec.spacing[b])
    variances, axes = principal_axes(np.stack(list(found.values()), axis=1))
    columns: Rows = {f"covariance-{a}-{b}": column for (a, b), column in found.items()}
    own = [found[k, k] for k in range(ndim)]
    others = [own[1], own[0]] if ndim == 2 else [own[1] + own[2], own[0] + own[2], own[0] + own[1]]
    for a in range(ndim):
        for b in range(ndim):
            columns[f"inertia_tensor-{a}-{b}"] = others[a] if a == b else 0.0 - found[min(a, b), max(a, b)]
    if ndim == 2:
        inertia = [variances[:, 0], variances[:, 1]]
        lengths = 4 * np.sqrt(variances)
    else:
        inertia = [variances[:, a] + variances[:, b] for a, b in ((0, 1), (0, 2), (1, 2))]
        lengths = np.sqrt(20 * variances)
    columns |= {f"inertia_tensor_eigvals-{k}": column for k, column in enumerate(inertia)}
    columns |= {"axis_major_length": lengths[:, 0], "axis_minor_length": lengths[:, -1]}
    if ndim == 3:
        return columns | {f"principal_axes-{k}-{a}": axes[:, k, a] for k in range(3) for a in range(3)}
    ratio = variances[:, 1] / np.where(variances[:, 0] > 0, variances[:, 0], 1.0)
    columns["eccentricity"] = np.where(variances[:, 0] > 0, np.sqrt(1 - ratio), 0.0)
    across, along, between = found[0, 0], found[1, 1], found[0, 1]
    turned = 0.5 * np.arctan2(2 * between, across - along)
    columns["orientation"] = np.where(across == along, np.where(between > 0, np.pi / 4, -np.pi / 4), turned)
    return columns


def _surface(rows: Rows, shown: Array, spec: Spec) -> Rows:
    crossings = np.zeros((len(shown), len(KINDS)), np.int64)
    for column, kind in enumerate(KINDS):
        if f"crossings-{kind}" in rows:
            crossings[:, column] = rows[f"crossings-{kind}"][shown]
    columns: Rows = {"surface_area" if spec.ndim == 3 else "perimeter_crofton": surface(crossings, spec.spacing)}
    return columns | ({"euler_number": rows["euler"][shown]} if "euler" in rows else {})


def intensities(rows: Rows, shown: Array, item: Measure) -> Rows:
    """Columns on the values of one volume: min and max, and from sums mean, std, sum and weighted centroid."""
    columns = {f"intensity_{what}": rows[f"{item.prefix}{what}"][shown] for what in item.extremes}
    if "sum" not in item.what:
        return columns
    size, scale = rows["size"][shown], 2.0**-item.shift
    sums, squares = (_wide(rows, f"{item.prefix}{what}", shown) for what in ("sum", "square"))
    mean, std = moments(sums, squares, size, item.shift)
    whole = as_floats(sums)
    columns |= {"intensity_mean": mean, "intensity_std": std, "intensity_sum": whole * scale}
    if "centre" in item.what and item.spacing:
        weight = np.where(whole == 0, np.nan, whole)
        for axis, (step, origin) in enumerate(zip(item.spacing, item.origin, strict=True)):
            place = as_floats(_wide(rows, f"{item.prefix}centre-{axis}", shown))
            columns[f"centroid_weighted-{axis}"] = place / weight * step + origin
    return columns


def moments(sums: Wide, squares: Wide, size: Array, shift: int) -> tuple[Array, Array]:
    """Mean and standard deviation from exact sums, within 1e-15 of themselves.

    >>> moments(split_wide(np.array([6])), split_wide(np.array([14])), np.array([3]), 0)
    (array([2.]), array([0.81649658]))
    """
    scale = 2.0**-shift
    return means(sums, size) * scale, np.sqrt(covariances(sums, sums, squares, size)) * scale


def touching(rows: Rows, shape: Shape, margin: Shape) -> Array:
    """Which objects have a voxel within ``margin`` voxels of the volume's edge; 0: on the edge itself.

    >>> rows = {"low-0": np.array([0, 1, 2]), "high-0": np.array([2, 3, 5])}
    >>> touching(rows, (5,), (0,))
    array([ True, False,  True])
    """
    found = np.zeros(len(rows["low-0"]), bool)
    for axis, (n, reach) in enumerate(zip(shape, margin, strict=True)):
        found |= (rows[f"low-{axis}"] <= reach) | (rows[f"high-{axis}"] >= n - reach)
    return found


def _wide(rows: Rows, name: str, shown: Array) -> Wide:
    """The parts of wide integers, the highest first."""
    parts = [f"{name}-{part}" for part in ("top", "high", "low")]
    return tuple(rows[part][shown] for part in parts if part in rows)

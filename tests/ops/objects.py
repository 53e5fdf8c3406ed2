"""What is known of objects, by definition: one label after the other, with NumPy, fractions and scikit-image."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import pi

import numpy as np
import pandas as pd
from skimage import measure

from bigseg.local.objects.principal import principal_axes

ALWAYS = ("num_pixels", "area", "equivalent_diameter_area", "bbox", "area_bbox", "extent")
# Parts of the sphere nearest to directions through faces, edges and corners of a cube: Lehmann and Legland, table 2.
SHARES = {1: 2 * 0.04577789120476, 2: 2 * 0.03698062787608, 3: 2 * 0.03519563978232}


def table_of(
    labels: np.ndarray,
    intensity: np.ndarray | None = None,
    axes: bool = True,
    apart: np.ndarray | None = None,
    connectivity: int | None = None,
    spacing: tuple[float, ...] | None = None,
) -> pd.DataFrame:
    """The table of regions, with surfaces where neighbouring voxels differ in an array ``apart``, if one is given."""
    spacing = spacing or (1.0,) * labels.ndim
    names = ("label", *ALWAYS)
    table = dict(measure.regionprops_table(labels, spacing=spacing, properties=names))
    ndim = labels.ndim
    low = np.array([table[f"bbox-{axis}"] for axis in range(ndim)])
    high = np.array([table[f"bbox-{axis + ndim}"] for axis in range(ndim)])
    table["touches_edge"] = (low == 0).any(0) | (high == np.array(labels.shape)[:, None]).any(0)
    table |= measure.regionprops_table(labels, spacing=spacing, properties=("centroid",))
    numbers = table["label"].tolist()
    if axes:
        table |= moments_of(labels, numbers, spacing)
    if apart is not None:
        table |= surfaces_of(labels, numbers, apart, connectivity or ndim)
    if intensity is not None:
        image = intensity.astype(np.float64)
        names = ("intensity_min", "intensity_max", "intensity_mean", "intensity_std")
        table |= measure.regionprops_table(labels, image, spacing=spacing, properties=names)
        table["intensity_sum"] = np.array([image[labels == label].sum() for label in numbers])
        weighted = measure.regionprops_table(labels, image, spacing=spacing, properties=("centroid_weighted",))
        table |= weighted
    return pd.DataFrame(table)


def moments_of(labels: np.ndarray, numbers: list[int], spacing: tuple[float, ...]) -> dict[str, np.ndarray]:
    """Second moments from exact fractions; what scikit-image has of them, as it has them."""
    ndim = labels.ndim
    pairs = [(a, b) for a in range(ndim) for b in range(a, ndim)]
    found = np.zeros((len(numbers), len(pairs)))
    for row, label in enumerate(numbers):
        places = [column.tolist() for column in np.nonzero(labels == label)]
        n = len(places[0])
        for column, (a, b) in enumerate(pairs):
            products = sum(p * q for p, q in zip(places[a], places[b], strict=True))
            exact = Fraction(n * products - sum(places[a]) * sum(places[b]), n * n)
            found[row, column] = float(exact) * (spacing[a] * spacing[b])
    table = {f"covariance-{a}-{b}": found[:, column] for column, (a, b) in enumerate(pairs)}
    names = ["inertia_tensor", "inertia_tensor_eigvals"]
    table |= measure.regionprops_table(labels, spacing=spacing, properties=names)
    variances, axes = principal_axes(found)  # by its own test
    lengths = 4 * np.sqrt(variances) if ndim == 2 else np.sqrt(20 * variances)
    table |= {"axis_major_length": lengths[:, 0], "axis_minor_length": lengths[:, -1]}
    if ndim == 3:
        return table | {f"principal_axes-{k}-{a}": axes[:, k, a] for k in range(3) for a in range(3)}
    return table | measure.regionprops_table(labels, spacing=spacing, properties=("eccentricity", "orientation"))


def surfaces_of(labels: np.ndarray, numbers: list[int], apart: np.ndarray, connectivity: int) -> dict[str, np.ndarray]:
    """Crossings with the surface in every direction, for voxels of side 1; scikit-image's Euler number."""
    ndim = labels.ndim
    padded, beyond = np.pad(labels, 1), np.pad(apart, 1)
    areas = np.zeros(len(numbers))
    for step in product((-1, 0, 1), repeat=ndim):
        axes = sum(map(abs, step))
        if not axes:
            continue
        away = np.roll(beyond, step, tuple(range(ndim))) != beyond
        share = SHARES[axes] if ndim == 3 else 1 / 4
        weight = (2 if ndim == 3 else pi / 2) * share / axes**0.5
        areas += weight * np.bincount(padded[away].ravel(), minlength=max(numbers, default=0) + 1)[numbers]
    table = {"surface_area" if ndim == 3 else "perimeter_crofton": areas}
    if connectivity in (1, ndim):
        table["euler_number"] = np.array([measure.euler_number(labels == k, connectivity) for k in numbers], np.int64)
    return table

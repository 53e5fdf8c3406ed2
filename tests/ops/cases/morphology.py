"""Rows of morphology, grey and binary."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage
from skimage import morphology

from tests.ops.cases.rank import corner, ellipsoid, flat, plus
from tests.ops.rows import ALL, Case, op

GREY = {
    "erosion": ndimage.grey_erosion,
    "dilation": ndimage.grey_dilation,
    "opening": ndimage.grey_opening,
    "closing": ndimage.grey_closing,
    "white_tophat": ndimage.white_tophat,
    "black_tophat": ndimage.black_tophat,
}
BINARY = {name: getattr(morphology, name) for name in GREY}


def masked(name: str, x: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    """Symmetric footprints: scikit-image turns none round."""
    return BINARY[name](x > 125, footprint, mode="ignore")


def grey(
    name: str,
    shape: Callable[[np.ndarray], np.ndarray],
    title: str,
    dtypes: tuple[str, ...] = ALL,
    **parameters: object,
) -> Case:
    return Case(
        name,
        lambda n: [op(name, **parameters)],
        lambda x: GREY[name](x, footprint=shape(x), mode="reflect"),
        dtypes=dtypes,
        name=title,
    )


CASES = [
    *(grey(name, lambda x: ellipsoid(*(2,) * x.ndim), "ball", radius=2) for name in GREY),
    *(grey(name, lambda x: np.ones((5,) * x.ndim), "box", ("uint8", "int16"), size=5) for name in GREY),
    grey("opening", lambda x: plus(x.ndim, 2), "cross", footprint="cross", radius=2),
    grey("closing", lambda x: flat(x, 1.8), "disk", footprint="disk", radius=1.8),
    *(
        Case(
            name,
            lambda n, name=name: [op(name, footprint=corner(n))],
            lambda x, name=name: GREY[name](x, footprint=corner(x.ndim), mode="reflect"),
            dtypes=("uint16", "float32"),
            name="array",
        )
        for name in GREY
    ),
    *(
        Case(
            name,
            lambda n, name=name: [op("threshold", above=125), op(name, radius=2)],
            lambda x, name=name: masked(name, x, ellipsoid(*(2,) * x.ndim)),
            dtypes=("uint8",),
            name="mask, ball",
        )
        for name in GREY
    ),
    Case(
        "opening",
        lambda n: [op("threshold", above=125), op("opening", size=(1, 5, 3)[-n:])],
        lambda x: masked("opening", x, np.ones((1, 5, 3)[-x.ndim :])),
        dtypes=("uint8",),
        name="mask, box",
    ),
    Case(
        "erosion",
        lambda n: [op("threshold", above=125), op("erosion", footprint=corner(n))],
        lambda x: ndimage.binary_erosion(x > 125, corner(x.ndim), border_value=1),
        dtypes=("uint8",),
        name="mask, array",
    ),
    Case(
        "dilation",
        lambda n: [op("threshold", above=125), op("dilation", footprint=corner(n))],
        lambda x: ndimage.binary_dilation(x > 125, corner(x.ndim)),
        dtypes=("uint8",),
        name="mask, array",
    ),
    Case(
        "closing",
        lambda n: [op("median", size=3), op("threshold", above=125), op("closing", radius=2), op("erosion")],
        lambda x: ndimage.binary_erosion(
            morphology.closing(ndimage.median_filter(x, 3) > 125, ellipsoid(*(2,) * x.ndim), mode="ignore"),
            ndimage.generate_binary_structure(x.ndim, 1),
            border_value=1,
        ),
        dtypes=("uint8",),
        name="fused chain",
    ),
]

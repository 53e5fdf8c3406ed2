"""Parameters of the operations on a footprint: what they mean, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from skimage.morphology import ball, disk

import bigseg
from bigseg.errors import ParameterError
from bigseg.functions import describe
from bigseg.local.filters import footprints
from bigseg.ops.footprint import Windowed
from bigseg.ops.registry import OPS
from bigseg.storage.spec import Spec

VOLUME = Spec((20, 30, 40), np.dtype("uint16"), ("z", "y", "x"), (2.0, 1.0, 0.5), "micrometer")
IMAGE = Spec((30, 40), np.dtype("uint16"), ("y", "x"), (1.0, 0.5), "micrometer")


def window(name: str, spec: Spec = VOLUME, **parameters: Any) -> np.ndarray:
    op = OPS[name](**parameters)
    assert isinstance(op, Windowed)
    assert op.depth(spec) == tuple(
        (2 if name in ("opening", "white_tophat") else 1) * (n // 2) for n in op.window(spec).shape
    )
    return op.window(spec)


def test_shapes_by_name() -> None:
    """A radius means a ball for morphology and a box for rank filters; disks lie in planes."""
    assert np.array_equal(window("opening", radius=3), ball(3))
    assert np.array_equal(window("opening", IMAGE, radius=3), disk(3))
    assert np.array_equal(window("erosion"), footprints.cross((1, 1, 1)))
    assert window("median").shape == window("median", radius=1).shape == (3, 3, 3)
    assert window("erosion", size=5).all()
    assert window("erosion", footprint="box", radius=2).shape == (5, 5, 5)
    assert np.array_equal(window("median", footprint="disk", radius=2), disk(2)[np.newaxis])
    assert np.array_equal(window("median", IMAGE, footprint="disk", radius=2), disk(2))
    assert window("erosion", footprint="disk", radius=(1, 4)).shape == (1, 3, 9)
    assert window("erosion", footprint="cross", radius=2).sum() == 13


def test_lengths_with_units_follow_the_spacing() -> None:
    """A radius of 4 um is 2 x 4 x 8 voxels where voxels are 2 x 1 x 0.5 um."""
    assert np.array_equal(window("dilation", radius="4 um"), footprints.ball((2, 4, 8)))
    assert window("median", radius="4 um").shape == (5, 9, 17)
    assert window("dilation", footprint="disk", radius="4 um").shape == (1, 9, 17)
    assert OPS["mean"](radius="4000 nm").depth(VOLUME) == (2, 4, 8)


def test_arrays_are_footprints() -> None:
    """Nested lists and arrays, of fewer axes too, are taken as they stand, and survive being written."""
    corner = [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert np.array_equal(window("erosion", footprint=corner)[0], corner)
    assert np.array_equal(window("erosion", footprint=np.array(corner, bool)), window("erosion", footprint=corner))
    op = OPS["erosion"](footprint=corner)
    assert OPS["erosion"](**op.model_dump(mode="json")) == op
    assert OPS["erosion"].model_validate_json(op.model_dump_json()) == op


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"footprint": "bal"}, "did you mean 'ball'"),
        ({"footprint": [[1, 1], [1, 1]]}, "odd lengths.*2 x 2"),
        ({"footprint": [[0, 0, 0]]}, "0 ones"),
        ({"footprint": [[1, 2, 1]]}, "lists of 0 and 1"),
        ({"footprint": [[1], [1, 0, 1]]}, "equal length"),
        ({"footprint": 3}, "lists of 0 and 1"),
        ({"size": 4}, "odd widths"),
        ({"size": 0}, "odd widths"),
        ({"size": 3, "radius": 1}, "found both"),
        ({"size": 3, "footprint": "ball"}, "radius.*ball"),
        ({"radius": 1, "footprint": [1, 1, 1]}, "found both"),
    ],
)
def test_parameters_that_cannot_be_are_refused(parameters: dict[str, Any], said: str) -> None:
    """Wrong shapes, sizes and pairs of parameters are refused in words."""
    for name in ("erosion", "median"):
        with pytest.raises(ValidationError, match=said):
            OPS[name](**parameters)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"size": (3, 3)}, "one value or 3"),
        ({"radius": (1, 1)}, "one value or 3"),
        ({"footprint": "disk", "radius": (1, 1, 1)}, "two"),
        ({"radius": -1}, "0 or more"),
        ({"radius": "1 parsec"}, "parsec"),
    ],
)
def test_parameters_that_do_not_fit_the_volume_are_refused(parameters: dict[str, Any], said: str) -> None:
    """Numbers of values that are not those of the axes, and lengths that cannot be, are refused."""
    with pytest.raises(ParameterError, match=said):
        OPS["opening"](**parameters).depth(VOLUME)
    with pytest.raises(ParameterError, match="at most 2 levels"):
        OPS["opening"](footprint=[[[1]]]).depth(IMAGE)


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("gaussian", {"sigma": 1e12}, "sigma 1e.12: expected at most 262144 voxels"),
        ("difference_of_gaussians", {"low_sigma": 1, "high_sigma": 1e12}, "expected at most 262144"),
        ("bilateral", {"sigma_color": 1, "sigma_spatial": 1e12}, "expected 134217728 at most"),
        ("bilateral", {"sigma_color": 1, "window": 10**12 + 1}, "expected 134217728 at most"),
        ("non_local_means", {"h": 1, "patch_distance": 10**12}, "expected 134217728 at most"),
        ("non_local_means", {"h": 1, "patch_size": 10**12 + 1}, "expected 134217728 at most"),
    ],
)
def test_filters_wider_than_any_volume_are_refused(name: str, parameters: dict[str, Any], said: str) -> None:
    """A width that no memory holds is refused with the most there is, not met by a MemoryError."""
    with pytest.raises(ParameterError, match=said):
        OPS[name](**parameters).depth(IMAGE)


@pytest.mark.parametrize("percentile", [-1, 100.5, float("nan")])
def test_percentiles_beyond_100_are_refused(percentile: float) -> None:
    """Percentiles lie between 0 and 100."""
    with pytest.raises(ValidationError):
        OPS["percentile"](percentile=percentile)


@pytest.mark.parametrize("name", ["erosion", "opening", "black_tophat"])
def test_labels_are_refused(name: str) -> None:
    """The least of several labels has no meaning: refused, with what to do."""
    with pytest.raises(ParameterError, match=f"{name} of labels.*threshold"):
        OPS[name]().output(VOLUME.but(kind="labels"))


def test_masks_stay_masks() -> None:
    """Bool in, bool out, in every operation but the mean; the objects at the edge stay whole."""
    mask = np.zeros((7, 9), bool)
    mask[:4, :5] = True
    for name in ("erosion", "dilation", "opening", "closing", "white_tophat", "black_tophat", "median", "minimum"):
        assert getattr(bigseg, name)(mask, radius=1).dtype == bool
    assert bigseg.erosion(mask, size=3)[:3, :4].all()
    assert bigseg.mean(mask).dtype == np.float32


def test_dask_arrays_give_the_same_bits() -> None:
    """The lazy function has the bits of the eager one."""
    import dask.array as da

    x = np.random.default_rng(0).integers(0, 999, (20, 31, 33), "uint16")
    lazy = da.from_array(x, (7, 9, 33))
    for name, parameters in (("opening", {"radius": 2}), ("mean", {"size": 5}), ("maximum", {"size": 7})):
        found = getattr(bigseg, name)(lazy, **parameters)
        assert np.asarray(found).tobytes() == getattr(bigseg, name)(x, **parameters).tobytes()


def test_a_mean_of_whole_numbers_is_exact() -> None:
    """A constant image stays what it is, and sums of 8 and 16 bits are rounded once."""
    x = np.full((6, 7, 8), 65535, "uint16")
    assert (bigseg.mean(x, size=5) == 65535).all()
    x = np.random.default_rng(1).integers(0, 255, (6, 7, 40), "uint8")
    padded = np.pad(x.astype(np.int64), 1, mode="symmetric")
    total = np.lib.stride_tricks.sliding_window_view(padded, (3, 3, 3)).sum((3, 4, 5))
    assert np.array_equal(bigseg.mean(x), total.astype(np.float32) / np.float32(27))
    assert describe(x).bounds == (0, 255)

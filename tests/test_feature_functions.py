"""`bigseg.features` and `bigseg.feature_table` on arrays."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import bigseg
from bigseg.errors import ParameterError
from tests.local.crops import textured

IMAGE = textured((12, 14, 16), "uint8")
CHOSEN = {"intensity": True, "position": {"x": 10}, "gaussian": [1, 2]}


def test_features_of_arrays() -> None:
    """Channels first, in the order of the names; of a DataArray with its axes, spacing and names."""
    found = bigseg.features(IMAGE, **CHOSEN)
    assert found.shape == (4, *IMAGE.shape)
    assert np.array_equal(found[0], IMAGE)
    np.testing.assert_allclose(found[3], bigseg.gaussian(IMAGE, sigma=2), atol=1e-4)
    array = xr.DataArray(IMAGE, dims=("z", "y", "x"), attrs={"spacing": (2.0, 0.5, 0.5), "unit": "micrometer"})
    named = bigseg.features(array, gaussian="1 um")
    assert named.dims == ("c", "z", "y", "x")
    assert list(named.c.values) == ["gaussian-1um"]
    assert np.array_equal(named[0], bigseg.features(IMAGE, gaussian=[[0.5, 2, 2]])[0])


def test_several_images() -> None:
    """A mapping names the images; a list counts them."""
    both = bigseg.features({"a": IMAGE, "b": IMAGE[::-1]}, gaussian=1)
    assert np.array_equal(both[1], bigseg.features(np.ascontiguousarray(IMAGE[::-1]), gaussian=1)[0])
    table = bigseg.feature_table([IMAGE, IMAGE], intensity=True, voxels=5)
    assert list(table) == ["z", "y", "x", "x0:intensity", "x1:intensity"]


def test_a_table_holds_the_features_of_its_voxels() -> None:
    """Each row has the features and the label of the voxel it names; unknown voxels are left out."""
    labels = (IMAGE > 100).astype("int32") * 3
    table = bigseg.feature_table(IMAGE, labels, voxels=200, seed=1, **CHOSEN)
    every = bigseg.features(IMAGE, **CHOSEN)
    at = table.z, table.y, table.x
    assert len(table) == 200
    assert len(table.drop_duplicates(["z", "y", "x"])) == 200
    assert (table.truth == 3).all()
    assert np.array_equal(table[["intensity", "position-x-10", "gaussian-1.0", "gaussian-2.0"]], every[:, *at].T)


def test_a_smaller_table_is_the_beginning_of_a_larger() -> None:
    """Voxels come in the order of their hashes; another seed gives others, None all by position."""
    mask = IMAGE > 120
    large, small = (bigseg.feature_table(IMAGE, mask, voxels=n, intensity=True) for n in (50, 20))
    assert large[:20].equals(small)
    assert set(large.truth) == {False, True}
    assert not bigseg.feature_table(IMAGE, mask, voxels=20, seed=1, intensity=True).equals(small)
    every = bigseg.feature_table(IMAGE, voxels=None, intensity=True)
    assert np.array_equal(every.intensity, IMAGE.ravel())


def test_a_region_sees_what_lies_around_it() -> None:
    """The rows of a region are those of the whole table that lie in it, positions included."""
    region = (slice(3, 9), slice(0, 5), slice(-6, None))
    part = bigseg.feature_table(IMAGE, voxels=None, region=region, **CHOSEN)
    every = bigseg.feature_table(IMAGE, voxels=None, **CHOSEN)
    inside = every[every.z.between(3, 8) & (every.y < 5) & (every.x >= 10)].reset_index(drop=True)
    assert part.equals(inside)


def test_what_is_wrong_is_said() -> None:
    """Misspelt parameters, labels and images that do not fit."""
    with pytest.raises(ParameterError, match="did you mean 'gaussian'"):
        bigseg.features(IMAGE, gausian=1)
    with pytest.raises(ParameterError, match="found 'big'"):
        bigseg.features(IMAGE, intensity=True, narrow="big")
    with pytest.raises(ParameterError, match="expected integers or a mask"):
        bigseg.feature_table(IMAGE, IMAGE[1:], intensity=True)
    with pytest.raises(ParameterError, match="one shape"):
        bigseg.features([IMAGE, IMAGE[1:]], intensity=True)
    for region in (slice(0, 2), (slice(0, 2),), (slice(0, 2),) * 4, (0, 1, 2), (slice(0, 9, 2),) * 3):
        with pytest.raises(ParameterError, match=r"expected (a slice for each of z, y, x|slices of every voxel)"):
            bigseg.feature_table(IMAGE, region=region, intensity=True)
    for empty in (slice(5, 2), slice(3, 3), slice(50, 60)):
        with pytest.raises(ParameterError, match=r"no voxel of the shape \(12, 14, 16\)"):
            bigseg.feature_table(IMAGE, region=(empty, slice(None), slice(None)), intensity=True)

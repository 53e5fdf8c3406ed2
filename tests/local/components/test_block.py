"""Components of a block: labels, tables, intensities and painting against whole-array references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import label as skimage_label

from bigseg.errors import ParameterError
from bigseg.local.components.bitmask import different
from bigseg.local.components.block import Components, label, label_equal, label_values
from bigseg.local.components.faces import shell_of
from bigseg.local.components.paint import paint, shell
from bigseg.local.components.table import PRODUCTS, first_voxels, measure, measure_products
from bigseg.local.components.values import extrema, measure_values, measure_values_and_places, shift_of
from tests.local.masks import in_raster_order, masks, special

SPECIAL = special()


def reference(mask: np.ndarray, connectivity: int) -> np.ndarray:
    """What scipy labels; connectivity beyond the axes means all neighbours."""
    structure = ndimage.generate_binary_structure(mask.ndim, min(connectivity, mask.ndim))
    return np.asarray(ndimage.label(mask, structure)[0])


def painted(components: Components, shape: tuple[int, ...]) -> np.ndarray:
    """The components as an array of their numbers."""
    out = np.full(shape, 99, np.uint32)
    paint(components, np.arange(components.n + 1, dtype=np.uint32), out)
    return out


def noise(shape: tuple[int, ...], density: float = 0.4) -> np.ndarray:
    """A random mask."""
    return np.random.default_rng(5).random(shape) < density


@given(masks(), st.sampled_from((1, 2, 3)))
def test_labels_are_scipys(mask, connectivity):
    """Numbers and their order equal scipy.ndimage.label for any density, shape and connectivity."""
    expected = reference(mask, connectivity)
    found = label(different(mask), connectivity)
    assert found.n == expected.max(initial=0)
    assert np.array_equal(painted(found, mask.shape), expected)


@pytest.mark.parametrize("connectivity", [1, 2, 3])
@pytest.mark.parametrize("name", SPECIAL)
def test_special_masks(name, connectivity):
    """Spirals, combs, checkerboards, full and empty blocks are labelled as scipy labels them."""
    mask = SPECIAL[name]
    found = label(different(mask), connectivity)
    assert np.array_equal(painted(found, mask.shape), reference(mask, connectivity))


@given(
    masks(),
    st.sampled_from((1, 2, 3)),
    st.integers(2, 4),
    st.sampled_from(("uint8", "int32", "uint32")),
)
def test_labels_of_equal_values_are_skimages(mask, connectivity, classes, dtype):
    """Multi-valued input has the components of skimage.measure.label, numbered by their first voxels."""
    values = np.random.default_rng(mask.sum()).integers(0, classes, mask.shape) * mask + mask
    values = np.repeat(values, 3, axis=-1)[..., : mask.shape[-1]].astype(dtype)
    for background in (0, 2):
        theirs = skimage_label(values, background=background, connectivity=min(connectivity, mask.ndim))
        found = label_equal(values, connectivity, background)
        assert np.array_equal(painted(found, mask.shape), in_raster_order(theirs))


def test_equal_values_of_any_view():
    """Crops and transposed blocks of labels give what their copies give, at the end of the memory too."""
    values = np.random.default_rng(1).integers(0, 3, (6, 7, 90)).astype(np.uint8)
    swapped = values.transpose(1, 0, 2), values.transpose(2, 0, 1)
    for view in (values[2:, 3:, 25:], *swapped, swapped[0][3:, 2:, 25:], values[::-1, :, 1:]):
        expected = in_raster_order(skimage_label(view, background=0, connectivity=3))
        assert np.array_equal(painted(label_equal(view, 3), view.shape), expected)


@given(masks(), st.sampled_from(("int8", "uint16", "int64")), st.sampled_from((1, 30, 2**62)), st.data())
def test_values_are_objects_wherever_they_lie(mask, dtype, factor, data):
    """Every value is one component, numbered by its first voxel, if values are close together or far apart."""
    few = np.random.default_rng(mask.sum()).integers(-3, 4, mask.shape) * mask * min(factor, np.iinfo(dtype).max // 3)
    values = np.repeat(few, 3, axis=-1)[..., : mask.shape[-1]].astype(dtype)
    background = data.draw(st.sampled_from((0, int(values.min()))))
    found = label_values(values, background)
    names = np.unique(values, return_inverse=True)[1].reshape(mask.shape) + 1
    assert np.array_equal(painted(found, mask.shape), in_raster_order(np.where(values == background, 0, names)))
    assert found.n == len(np.setdiff1d(values, [background]))


@given(masks(), st.sampled_from((1, 2, 3)))
def test_table_is_numpys(mask, connectivity):
    """Sizes, first voxels, boxes, sums and products of coordinates equal numpy's, component by component."""
    found = label(different(mask), connectivity)
    labels = reference(mask, connectivity).reshape((1, *mask.shape)[-3:])
    table, products = measure(found), measure_products(found)
    assert np.array_equal(first_voxels(found), table["first"])
    assert np.array_equal(table["voxels"], np.bincount(labels.reshape(-1), minlength=found.n + 1)[1:])
    for i, box in enumerate(ndimage.find_objects(labels)):
        row = table[i]
        assert row["first"] == np.flatnonzero(labels == i + 1)[0]
        places = dict(zip("zyx", np.nonzero(labels == i + 1), strict=True))
        for axis, part in zip("zyx", box, strict=True):
            assert (row[f"start_{axis}"], row[f"stop_{axis}"]) == (part.start, part.stop)
            assert row[f"sum_{axis}"] == places[axis].sum()
        for column, (one, other) in enumerate(PRODUCTS):
            assert products[i, column] == (places[one] * places[other]).sum()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "float32"])
def test_values_are_exact(dtype):
    """Sums, sums of squares and extremes under every component equal those of unbounded integers."""
    mask = noise((5, 6, 150))
    rng = np.random.default_rng(2)
    shift = 0
    if dtype == "float32":
        x = rng.normal(0, 300, mask.shape).astype(dtype)
        shift = shift_of(float(np.abs(x).max()))
        whole = np.rint(x.astype(float) * 2.0**shift).astype(np.int64)
        assert 2**29 < np.abs(whole).max() <= 2**30
    else:
        info = np.iinfo(dtype)
        x = rng.integers(info.min, info.max, mask.shape, dtype=dtype, endpoint=True)
        x[::2, :, ::3] = info.max
        x[1::2, :, ::3] = info.min
        whole = x.astype(np.int64)
    for connectivity in (1, 3):
        found = label(different(mask), connectivity)
        labels = reference(mask, connectivity)
        table = measure_values(found, x, shift)
        for i in range(found.n):
            under = labels == i + 1
            values = [int(v) for v in whole[under]]
            row = table[i]
            assert row["sum"] == sum(values)
            assert int(row["square_high"]) * 2**32 + int(row["square_low"]) == sum(v * v for v in values)
            assert 0 <= row["square_low"] < 2**32
            assert (row["minimum"], row["maximum"]) == (x[under].min(), x[under].max())
        assert np.array_equal(extrema(found, x, "min"), table["minimum"])
        assert np.array_equal(extrema(found, x, "max"), table["maximum"])


def test_values_of_a_view():
    """An image that is a crop of its outer block is read in place, to the last voxel of the memory."""
    outer = np.random.default_rng(4).integers(0, 60_000, (7, 8, 100)).astype(np.uint16)
    x = outer[2:, 3:, 30:]
    found = label(different(x > 30_000), 1)
    copied = measure_values(found, x.copy())
    assert np.array_equal(measure_values(found, x), copied)
    assert np.array_equal(extrema(found, x, "max"), copied["maximum"])
    assert np.array_equal(extrema(found, x.astype(np.float64), "min"), copied["minimum"])


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32"])
@pytest.mark.parametrize("shape", [(5, 6, 150), (7, 200)])
def test_values_times_places_are_exact(dtype, shape):
    """Sums of values times coordinates equal those of unbounded integers; the table is that of `measure_values`."""
    mask, rng, shift = noise(shape, 0.6), np.random.default_rng(3), 0
    if dtype == "float32":
        x = rng.normal(-50, 300, shape).astype(dtype)
        shift = shift_of(float(np.abs(x).max()))
        whole = np.rint(x.astype(float) * 2.0**shift).astype(np.int64).astype(object)
    else:
        info = np.iinfo(dtype)
        x = rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
        whole = x.astype(object)
    for connectivity in (1, 2):
        found, labels = label(different(mask), connectivity), reference(mask, connectivity)
        table, places = measure_values_and_places(found, x, shift)
        assert np.array_equal(table, measure_values(found, x, shift))
        volume = (1, *shape)[-3:]
        coordinates = np.indices(volume).astype(object)
        for i in range(found.n):
            under = (labels == i + 1).reshape(volume)
            wanted = [(whole.reshape(volume)[under] * axis[under]).sum() for axis in coordinates]
            assert [(int(places[i, 2 * k]) << 32) + int(places[i, 2 * k + 1]) for k in range(3)] == wanted
        assert places[:, 1::2].min() >= 0
        assert places[:, 1::2].max() < 2**32


def test_zeros_have_one_sign():
    """A minimum or maximum of zero is +0.0, whichever zero came first, so that merging keeps the bits."""
    found = label(different(np.ones((1, 2), bool)))
    for zeros in ([0.0, -0.0], [-0.0, 0.0], [-0.0, -0.0]):
        x = np.array([zeros], "float32")
        table = measure_values(found, x, 10)
        for value in (table["minimum"][0], table["maximum"][0], extrema(found, x, "max")[0]):
            assert not np.signbit(value)


@pytest.mark.parametrize("largest", [1.0, 0.999, 65535.0, 1e-20, 3e38, 2.0**-140, 0.0])
def test_shift_fills_the_integers(largest):
    """Scaled by the shift, the largest magnitude stays within 2**30 and, if float32 allows, above 2**29."""
    scaled = largest * 2.0 ** shift_of(largest)
    assert scaled <= 2**30
    assert scaled > 2**29 or shift_of(largest) in (0, 126)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint32", "uint64", "float32"])
@pytest.mark.parametrize("connectivity", [1, 3])
def test_paint_maps_through_the_table(dtype, connectivity):
    """Every voxel gets the table's item for its component or the background, and no other voxel changes."""
    mask = noise((4, 5, 133))
    found = label(different(mask), connectivity)
    labels = reference(mask, connectivity)
    table = np.random.default_rng(6).integers(0, 200, found.n + 1).astype(dtype)
    whole = np.full((6, 9, 150), 1, dtype)
    expected = whole.copy()
    expected[1:5, 2:7, 9:142] = table[labels]
    paint(found, table, whole[1:5, 2:7, 9:142])
    assert np.array_equal(whole, expected)


@given(masks(), st.sampled_from((1, 2, 3)))
def test_shell_is_the_faces_of_the_labels(mask, connectivity):
    """The six planes are those of the label array."""
    expected = shell_of(reference(mask, connectivity))
    found = shell(label(different(mask), connectivity))
    for planes, others in zip(found, expected, strict=True):
        assert all(np.array_equal(one, other) for one, other in zip(planes, others, strict=True))


def test_memory_is_bounded():
    """Components of the worst mask, a checkerboard, take 2.4 bytes a voxel; of the worst labels 4.5."""
    board = np.indices((16, 16, 256)).sum(0) % 2
    every = 1 + np.arange(65536, dtype=np.uint32).reshape(16, 16, 256)
    for found, most in ((label(different(board)), 2.4), (label_equal(every), 4.5)):
        runs = found.runs
        arrays = runs.mask.rows, runs.start, runs.before, found.component
        assert sum(array.nbytes for array in arrays) <= most * 65536
    assert label(different(board), 3).component.nbytes == 4 * 8 * 8


def test_refusals():
    """Parameters that cannot be are refused, saying what was expected."""
    mask = different(np.ones((2, 3), bool))
    found = label(mask)
    for connectivity in (0, 4):
        with pytest.raises(ParameterError, match="expected 1, 2 or 3"):
            label(mask, connectivity)
        with pytest.raises(ParameterError, match="expected 1, 2 or 3"):
            label_equal(np.ones((2, 3), int), connectivity)
    with pytest.raises(ParameterError, match="shape"):
        paint(found, np.zeros(2, np.uint8), np.zeros((3, 2), np.uint8))
    with pytest.raises(ParameterError, match="expected 2 items"):
        paint(found, np.zeros(3, np.uint8), np.zeros((2, 3), np.uint8))
    with pytest.raises(ParameterError, match="dtype"):
        paint(found, np.zeros(2, np.uint8), np.zeros((2, 3), np.uint16))
    with pytest.raises(ParameterError, match="contiguous"):
        paint(found, np.zeros(2, np.uint8), np.zeros((3, 2), np.uint8).T)
    with pytest.raises(ParameterError, match="shape"):
        measure_values(found, np.zeros((3, 2), np.uint8))
    with pytest.raises(ParameterError, match="float64"):
        measure_values(found, np.zeros((2, 3)))
    with pytest.raises(ParameterError, match="leave it 0"):
        measure_values(found, np.zeros((2, 3), np.uint8), shift=3)
    with pytest.raises(ParameterError, match="min"):
        extrema(found, np.zeros((2, 3)), "median")


def test_products_that_overflow_are_refused():
    """A block whose squared coordinates might not fit 64 bits is refused before anything is added."""
    from bigseg.local.components.bitmask import BitMask
    from bigseg.local.components.runs import Runs

    empty = np.zeros((0, 0), np.uint64)
    block = Components(
        Runs(BitMask((1, 2, 1 << 30), empty), (1, 1), empty, empty.view(np.uint32), 0), empty.view(np.uint32), 0
    )
    with pytest.raises(ParameterError, match="use smaller blocks"):
        measure_products(block)

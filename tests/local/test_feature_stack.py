"""The feature stack against scipy and scikit-image filter by filter, and against itself in blocks and tiles."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import scipy.ndimage as ndi
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage import feature
from sklearn.preprocessing import PolynomialFeatures

from bigseg.errors import ParameterError
from bigseg.grid import Box
from bigseg.local.features import stack as module
from bigseg.local.features.filters import Filter, Kind
from bigseg.local.features.stack import Stack, features_of
from bigseg.local.filters.derivatives import gaussian_gradient_magnitude, laplacian_of_gaussian
from bigseg.local.filters.linear import gaussian
from tests.local.crops import assert_blocks_do_not_show, assert_same_bits, assert_shifts_do_not_show, textured, whole
from tests.memory import bytes_held

Array = NDArray[Any]
SCALED: tuple[Kind, ...] = (
    "gaussian",
    "difference_of_gaussians",
    "sobel",
    "edges",
    "gaussian_gradient_magnitude",
    "laplacian_of_gaussian",
    "hessian_eigenvalue",
    "structure_tensor_eigenvalue",
)


def scaled(kind: Kind, sigma: tuple[float, ...], **more: Any) -> Filter:
    narrow = tuple(0.66 * s for s in sigma) if kind == "difference_of_gaussians" else ()
    return Filter(kind, sigma, narrow, name=f"{kind}-{{}}-{sigma[-1]}", **more)


def every_filter(ndim: int, sigma: tuple[float, ...], slices: bool = False) -> Stack:
    """One of each kind, several scales of those that share work."""
    wide = tuple(1.7 * s for s in sigma)
    shifts = [shift for shift in product((-2, 0, 1), repeat=ndim) if not (slices and ndim == 3 and shift[0])]
    items = [Filter("intensity"), Filter("position", shift=(0,) * (ndim - 1) + (1,), divisor=5.0)]
    items += [Filter("position", shift=(1,) + (0,) * (ndim - 1), divisor=10.0)]
    items += [Filter("neighbour", shift=shift) for shift in shifts]
    items += [scaled(kind, sigma, slices=slices) for kind in SCALED]
    items += [scaled(kind, wide, slices=slices) for kind in (*SCALED[1:4], SCALED[-1])]
    return Stack(tuple(items), ndim)


def oracle(item: Filter, x: Array) -> list[Array]:
    """What scipy and scikit-image give for a filter; of slices a plane at a time."""
    f = x.astype(np.float32)
    if item.slices and x.ndim == 3:
        flat = item._replace(sigma=item.sigma[1:], narrow=item.narrow[1:], slices=False, shift=item.shift[1:])
        planes = [oracle(flat, plane) for plane in f]
        return [np.stack(found) for found in zip(*planes, strict=True)]
    if item.kind == "intensity":
        return [f]
    if item.kind == "position":
        return [(np.indices(x.shape)[item.shift.index(1)] / item.divisor).astype(np.float32)]
    if item.kind == "neighbour":
        far = max(map(abs, item.shift))
        begins = [far + n for n in item.shift]
        return [np.pad(f, far, mode="symmetric")[tuple(slice(b, b + n) for b, n in zip(begins, x.shape, strict=True))]]
    if item.kind == "gaussian_gradient_magnitude":
        return [ndi.gaussian_gradient_magnitude(f, item.sigma)]
    if item.kind == "laplacian_of_gaussian":
        return [ndi.gaussian_laplace(f, item.sigma)]
    if item.kind == "structure_tensor_eigenvalue":
        return list(feature.structure_tensor_eigenvalues(feature.structure_tensor(f, item.sigma, mode="reflect")))
    smooth = ndi.gaussian_filter(f, item.sigma)
    if item.kind == "gaussian":
        return [smooth]
    if item.kind == "difference_of_gaussians":
        return [ndi.gaussian_filter(f, item.narrow) - smooth]
    if item.kind == "hessian_eigenvalue":
        elements = feature.hessian_matrix(f, item.sigma, mode="reflect", use_gaussian_derivatives=False)
        return list(feature.hessian_matrix_eigvals(elements))
    magnitude = np.sqrt(sum(ndi.sobel(smooth, axis) ** 2 for axis in range(x.ndim)))
    return [magnitude / (4 ** (x.ndim - 1) * x.ndim**0.5) if item.kind == "edges" else magnitude]


def run(stack: Stack, tile: tuple[int, ...] = ()) -> Any:
    """The stack as a filter with all features on one axis behind the others, for the tests of crops."""

    def act(x: Array, keep: tuple[slice, ...]) -> Array:
        shape = tuple(k.stop - k.start for k in keep)
        out = np.full((*shape, len(stack.names)), np.nan, np.float32)
        for part in stack.tiles([x], keep, tile=tile):
            inside = tuple(p.stop - p.start for p in part.part)
            out[part.part] = part.rows().reshape(*inside, -1)
        return out

    return act


def without_positions(stack: Stack) -> Stack:
    """Positions depend on where a crop lies, by intention."""
    return Stack(tuple(item for item in stack.filters if item.kind != "position"), stack.ndim, stack.degree)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize(
    ("shape", "sigma", "slices"),
    [
        ((13, 17, 22), (1.0, 1.0, 1.0), False),
        ((5, 9, 30), (0.5, 2.0, 0.8), False),
        ((31, 44), (1.3, 1.3), False),
        ((6, 20, 24), (3.0, 1.1, 1.1), True),
    ],
)
def test_every_filter_equals_its_oracle(dtype: str, shape: Any, sigma: Any, slices: bool) -> None:
    """Each feature, up to the edge: scipy's or scikit-image's, within 1e-5 of its range; copies exactly.

    Second differences keep what float32 keeps of the image, 1e-6 of its greatest value.
    """
    x = textured(shape, dtype)
    stack = every_filter(len(shape), sigma, slices)
    found = features_of(stack, [x], whole(shape))
    expected = [part for item in stack.filters for part in oracle(item, x)]
    assert found.dtype == np.float32
    assert len(found) == len(expected) == len(stack.names)
    for name, one, wanted in zip(stack.names, found, expected, strict=True):
        if name in ("intensity", "position", "neighbour"):
            assert np.array_equal(one, wanted), name
        else:
            slack = 1e-6 * float(x.max()) if name.startswith("hessian") else 0
            assert np.abs(one - wanted).max() <= max(1e-5 * np.ptp(wanted), slack), name


def test_wide_scales_on_small_images() -> None:
    """Sigmas whose kernels are longer than the image is wide mirror it over and over, as scipy."""
    x = textured((5, 7, 9), "uint8")
    stack = Stack(tuple(scaled(kind, (4.0, 3.0, 4.0)) for kind in SCALED), 3)
    found = features_of(stack, [x], whole(x.shape))
    for name, one, wanted in zip(stack.names, found, [p for i in stack.filters for p in oracle(i, x)], strict=True):
        assert np.abs(one - wanted).max() <= max(1e-5 * np.ptp(wanted), 1e-6 * float(x.max())), name


def test_flat_images_have_no_derivatives() -> None:
    """On a flat image derivatives are exactly 0, differences of Gaussians to rounding, Laplacians scipy's.

    (Its second derivative cut off at 4 sigma does not add up to 0.)
    """
    x = np.full((8, 9, 10), 1000.1, np.float32)
    stack = Stack(tuple(scaled(kind, (1.4, 1.4, 1.4)) for kind in SCALED if kind != "gaussian"), 3)
    for name, one in zip(stack.names, features_of(stack, [x], whole(x.shape)), strict=True):
        wanted = ndi.gaussian_laplace(x, 1.4) if name.startswith("laplacian") else 0
        assert np.abs(one - wanted).max() <= (1e-3 if name.startswith(("laplacian", "difference")) else 0), name


def test_features_have_the_values_of_the_operations() -> None:
    """Features equal the operations of the same names to float32's last digits: same kernels, other order of taps."""
    x = textured((12, 14, 16), "uint8")
    sigma = (1.2, 1.2, 1.2)
    stack = Stack((scaled("gaussian", sigma), scaled(SCALED[4], sigma), scaled(SCALED[5], sigma)), 3)
    found = features_of(stack, [x], whole(x.shape))
    for one, act in zip(found, (gaussian, gaussian_gradient_magnitude, laplacian_of_gaussian), strict=True):
        np.testing.assert_allclose(one, act(x, sigma, whole(x.shape)), rtol=0, atol=1e-4)


@pytest.mark.parametrize("slices", [False, True])
def test_shifted_crops_give_the_same_bits(slices: bool) -> None:
    """Crops that start 1 to 17 voxels on, along each axis, have the bits of the whole."""
    stack = without_positions(every_filter(3, (0.6, 0.6, 0.6), slices))
    for axis in range(3):
        shape = [9, 9, 9]
        shape[axis] = 23
        x = textured(shape)
        expected = run(stack)(x, whole(shape))
        for shift in range(1, 18):
            start = tuple(shift if a == axis else 0 for a in range(3))
            stop = tuple(n - (2 if a == axis else 0) for a, n in enumerate(shape))
            assert_same_bits(run(stack), x, Box(start, stop), stack.depth(), expected)


def test_images_in_crops_and_blocks() -> None:
    """In 2-D too, and in blocks of any shape."""
    stack = without_positions(every_filter(2, (0.9, 0.7)))
    assert_shifts_do_not_show(run(stack), textured((29, 31)), stack.depth())
    assert_blocks_do_not_show(run(stack), textured((29, 31), "uint8"), stack.depth(), (7, 12))
    volume = without_positions(every_filter(3, (0.5, 0.9, 0.7)))
    assert_blocks_do_not_show(run(volume), textured((13, 19, 23), "uint8"), volume.depth(), (6, 19, 9))


@given(st.data())
@settings(max_examples=25)
def test_any_block_in_any_tiles_gives_the_bits_of_the_whole(data: st.DataObject) -> None:
    """Any box, its halo clipped at the edges, in tiles of any planes and rows, has the bits of the whole."""
    shape = data.draw(st.sampled_from([(11, 13, 20), (19, 26)]))
    stack = without_positions(every_filter(len(shape), (0.8,) * len(shape)))
    x = textured(shape, "uint16")
    start = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    stop = tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, shape, strict=True))
    tile = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 9)))
    assert_same_bits(run(stack, tile), x, Box(start, stop), stack.depth(), run(stack)(x, whole(shape)))


def test_tiles_cover_every_voxel_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles are disjoint and complete, their matrix never above the limit, in whatever it is cut."""
    stack = Stack((Filter("intensity"), scaled("gaussian", (1.0, 1.0, 1.0))), 3)
    x = textured((9, 40, 10), "uint8")
    keep = (slice(1, 9), slice(3, 40), slice(0, 9))
    for limit in (1, 4000, 1 << 20):
        monkeypatch.setattr(module, "MATRIX_BYTES", limit)
        count = np.zeros((8, 37, 9), int)
        for tile in stack.tiles([x], keep):
            count[tile.part] += 1
            assert tile.planes.nbytes <= max(limit, 2 * 4 * 32 * 9)
            assert tile.planes.flags.c_contiguous
            assert np.array_equal(tile.planes[0], x[keep][tile.part].ravel())
        assert (count == 1).all()


def test_positions_are_those_in_the_volume() -> None:
    """A block's positions count from the volume's first voxel, whatever its place and its tiles."""
    items = [Filter("position", shift=tuple(int(a == n) for a in range(3)), divisor=4.0) for n in range(3)]
    stack = Stack(tuple(items), 3)
    expected = (np.indices((9, 10, 11)) / 4.0).astype(np.float32)
    assert np.array_equal(features_of(stack, [np.zeros((9, 10, 11))], whole((9, 10, 11))), expected)
    inner, x = Box((2, 3, 1), (8, 9, 11)), np.zeros((8, 9, 11), "uint8")  # what lies from voxel 1, 1, 0 on
    keep = (slice(1, 7), slice(2, 8), slice(1, 11))
    for tile in stack.tiles([x], keep, inner.start, (2, 4)):
        assert np.array_equal(tile.planes, expected[:, *inner.slices][:, *tile.part].reshape(3, -1))


def test_several_images() -> None:
    """Filters of several images of different dtypes are those of each image by itself."""
    first, second = textured((8, 9, 12), "uint8"), textured((8, 9, 12), "float32", seed=1)
    sigma = (1.0, 1.0, 1.0)
    parts = [(*(scaled(kind, sigma, image=n) for kind in SCALED), Filter("intensity", image=n)) for n in (0, 1)]
    both = features_of(Stack(parts[0] + parts[1], 3), [first, second], whole(first.shape))
    alone = [features_of(Stack(parts[0], 3), [x], whole(x.shape)) for x in (first, second)]
    assert np.array_equal(both, np.concatenate(alone))


def test_any_memory_order() -> None:
    """Views of any strides and byte order give what their copies give."""
    x = textured((9, 10, 11), "uint16")
    items = [*(scaled(kind, (0.6, 0.6, 0.6)) for kind in SCALED), Filter("neighbour", shift=(1, 0, -1))]
    stack = Stack(tuple(items), 3)
    expected = features_of(stack, [x], whole(x.shape))
    padded = np.pad(x, 2)[2:-2, 2:-2, 2:-2]
    turned = np.ascontiguousarray(x[::-1, :, ::-1])[::-1, :, ::-1]
    for view in (padded, turned, np.asfortranarray(x), x.astype(">u2")):
        assert np.array_equal(features_of(stack, [view], whole(x.shape)), expected)


def test_products_are_those_of_scikit_learn() -> None:
    """Products up to degree 3 have the bits and the order of PolynomialFeatures on the same table."""
    x = textured((10, 12))
    base = (Filter("intensity", name="a"), scaled("gaussian", (1.0, 1.0))._replace(name="b"))
    base += (Filter("position", shift=(0, 1), name="x"),)
    stack = Stack(base, 2, 3)
    [tile] = stack.tiles([x], whole(x.shape))
    table = np.ascontiguousarray(tile.planes[:3].T)
    wanted = PolynomialFeatures(3, include_bias=False).fit(table)
    assert tile.rows().tobytes() == wanted.transform(table).tobytes()
    names = [name.replace(" ", "*") for name in wanted.get_feature_names_out(["a", "b", "x"])]
    assert list(stack.names) == names


def test_rows_are_the_planes_turned() -> None:
    """`rows` gives (voxels, features) C-contiguous, for numbers of features that divide by 4 and that do not."""
    for features in (1, 3, 4, 9):
        stack = Stack(tuple(Filter("neighbour", shift=(0, n)) for n in range(features)), 2)
        for tile in stack.tiles([textured((11, 13))], whole((11, 13)), tile=(1, 7)):
            found = tile.rows()
            assert found.flags.c_contiguous
            assert np.array_equal(found, tile.planes.T)


@pytest.mark.parametrize(
    ("outer", "inner"),
    [((48, 96, 96), (32, 80, 80)), ((24, 48, 200), (24, 48, 200)), ((300, 500), (290, 490)), ((500, 200), (500, 200))],
)
def test_memory_is_what_is_held(outer: Any, inner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The peak beside the images is below what is declared, and not by much."""
    monkeypatch.setattr(module, "MATRIX_BYTES", 1 << 20)
    sigma = (1.5,) * len(outer)
    keep = tuple(slice((m - n) // 2, (m - n) // 2 + n) for n, m in zip(inner, outer, strict=True))
    x = np.ones(outer, "uint16")

    def through(stack: Stack) -> None:
        for _ in stack.tiles([x], keep):
            pass

    for kinds in (SCALED, SCALED[:1], SCALED[-1:], SCALED[4:6]):
        near = Filter("neighbour", shift=(1,) * len(outer))
        stack = Stack((*(scaled(kind, sigma) for kind in kinds), near), len(outer))
        _, peak = bytes_held(through, stack)
        declared = stack.memory(outer, inner, ["uint16"])
        assert 0.75 * declared <= peak <= declared, kinds


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([], "without filters"),
        ([Filter("gaussian", (1.0,))], "expected 3 values"),
        ([Filter("gaussian")], "a sigma for each axis"),
        ([Filter("laplacian_of_gaussian", (0.1, 1.0, 1.0))], "0.125 voxels"),
        ([Filter("gaussian", (-1.0, 1.0, 1.0))], "0 or more"),
        ([Filter("difference_of_gaussians", (0.0,) * 3, (0.0,) * 3)], "above 0"),
    ],
)
def test_filters_that_cannot_be(items: list[Filter], said: str) -> None:
    """Stacks without filters and sigmas that do not fit are refused."""
    with pytest.raises(ParameterError, match=said):
        Stack(tuple(items), 3)


def test_images_that_do_not_fit() -> None:
    """Too few images, images of other shapes and a keep outside of them are refused; no voxels give no tile."""
    stack = Stack((Filter("intensity"), Filter("intensity", image=1)), 2)
    x = np.zeros((4, 5))
    with pytest.raises(ParameterError, match="2 images: found 1"):
        list(stack.tiles([x], whole((4, 5))))
    with pytest.raises(ParameterError, match="one shape"):
        list(stack.tiles([x, x[1:]], whole((4, 5))))
    with pytest.raises(ParameterError, match="does not lie"):
        list(stack.tiles([x, x], (slice(0, 5), slice(0, 5))))
    assert not list(stack.tiles([x, x], (slice(2, 2), slice(0, 5))))
    with pytest.raises(ParameterError, match="4096 at most"):
        Stack(tuple(Filter("neighbour", shift=(0, n)) for n in range(100)), 2, 3)

"""Eigenvalues against numpy and scikit-image, and against themselves in blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.ndimage as ndi
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage import feature

from bigseg.errors import ParameterError
from bigseg.grid import Box
from bigseg.local.filters import tensors
from bigseg.local.filters.eigen import symmetric_eigenvalues
from bigseg.local.filters.linear import gaussian_radius
from bigseg.local.filters.tensors import (
    hessian_eigenvalue,
    hessian_working_bytes,
    structure_tensor_eigenvalue,
    structure_tensor_working_bytes,
)
from tests.local.filters.test_linear import noise, whole
from tests.memory import bytes_held

FORMS = {"hessian": (hessian_eigenvalue, 2), "structure tensor": (structure_tensor_eigenvalue, 1)}
each_form = pytest.mark.parametrize("form", FORMS)


def elements_of(matrices: NDArray[Any]) -> list[NDArray[np.float32]]:
    rows, columns = np.triu_indices(matrices.shape[-1])
    return [np.ascontiguousarray(matrices[..., a, b], np.float32) for a, b in zip(rows, columns, strict=True)]


def assert_eigenvalues(matrices: NDArray[Any]) -> None:
    """All eigenvalues are those of numpy in float64, to the rounding of float32 of the greatest of them."""
    exact = matrices.astype(np.float32).astype(np.float64)
    wanted = np.linalg.eigvalsh(exact)[..., ::-1]
    size = np.abs(wanted).max(axis=-1)
    for which in range(1, matrices.shape[-1] + 1):
        found = symmetric_eigenvalues(elements_of(matrices), which)
        assert (np.abs(found - wanted[..., which - 1]) <= 1e-7 * size + 1e-45).all(), which


def image(shape: Any, dtype: str, seed: int = 4) -> NDArray[Any]:
    """Smooth structures and noise."""
    rng = np.random.default_rng(seed)
    smooth = ndi.gaussian_filter(rng.standard_normal(shape), 1.5)
    values = 120 + 30 * smooth / (smooth.std() or 1) + 3 * rng.standard_normal(shape)
    return values.clip(0, 255).astype(dtype)


def by_skimage(form: str, x: NDArray[Any], sigma: Any, which: int) -> NDArray[np.float32]:
    x = x.astype(np.float32)
    if form == "hessian":
        elements = feature.hessian_matrix(x, sigma, mode="reflect", use_gaussian_derivatives=False)
    else:
        elements = feature.structure_tensor(x, sigma, mode="reflect")
    return feature.hessian_matrix_eigvals(elements)[which - 1]


@pytest.mark.parametrize("offset", [0, 1, 100])
@pytest.mark.parametrize("sigma", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("shape", [(60, 70), (24, 26, 28)])
def test_structure_tensors_are_off_by_the_rounding_of_the_greatest(shape: Any, sigma: float, offset: float) -> None:
    """Noise: within 1e-6 of the greatest eigenvalue, as often as grey values exceed the differences of neighbours."""
    x = np.random.default_rng(7).random(shape, np.float32) + np.float32(offset)
    steps = max(np.abs(np.diff(x, axis=axis)).max() for axis in range(x.ndim))
    most = by_skimage("structure tensor", x, sigma, 1).max()
    for which in range(1, x.ndim + 1):
        found = structure_tensor_eigenvalue(x, (sigma,) * x.ndim, whole(shape), which)
        away = np.abs(found - by_skimage("structure tensor", x, sigma, which)).max()
        assert away <= 1e-6 * most * max(1.0, x.max() / steps)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("scale", [1e-18, 1e-3, 1.0, 1e9, 1e18])
def test_eigenvalues_of_any_matrices(size: int, scale: float) -> None:
    """Random matrices of any scale: numpy's eigenvalues, the greatest first."""
    matrices = np.random.default_rng(size).normal(size=(2000, size, size)) * scale
    assert_eigenvalues(matrices + matrices.transpose(0, 2, 1))


@pytest.mark.parametrize("spread", [0.0, 1e-7, 1e-5, 1e-3])
def test_eigenvalues_that_meet(spread: float) -> None:
    """Two or three equal eigenvalues, or nearly, in any direction, lose no digits of the matrix's size."""
    rng = np.random.default_rng(8)
    turns = np.linalg.qr(rng.normal(size=(900, 3, 3)))[0]
    for values in ((1, 1, 1), (1, 1, -2), (3, 1, 1), (1, 0, 0), (0, 0, -1), (1e4, 1e4, 1e4 + 1)):
        wanted = np.array(values, float) + spread * rng.normal(size=(900, 3))
        assert_eigenvalues(np.einsum("nij,nj,nkj->nik", turns, wanted, turns))


def test_diagonal_and_zero_matrices() -> None:
    """Diagonal matrices give their diagonal in order, multiples of the identity and zeros exactly themselves."""
    for size in (2, 3):
        diagonals = np.random.default_rng(size).normal(size=(300, size)).astype(np.float32)
        assert_eigenvalues(np.einsum("ni,ij->nij", diagonals, np.eye(size)))
        for value in (0.0, 5.0, -0.1):
            same = elements_of(np.full((3, 1, 1), value) * np.eye(size))
            for which in range(1, size + 1):
                assert np.array_equal(symmetric_eigenvalues(same, which), np.full(3, value, np.float32))


@pytest.mark.parametrize("size", [2, 3])
def test_bits_do_not_depend_on_the_place(size: int) -> None:
    """A matrix gives the same bits in whatever lane of a vector, chunk or rest of a loop it comes."""
    matrices = np.random.default_rng(3).normal(size=(600, size, size)).astype(np.float32)
    elements = elements_of(matrices + matrices.transpose(0, 2, 1))
    for which in range(1, size + 1):
        expected = symmetric_eigenvalues(elements, which)
        for begin in (*range(1, 18), 255, 256, 257, 599):
            assert np.array_equal(symmetric_eigenvalues([e[begin:] for e in elements], which), expected[begin:])


@each_form
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(
    ("shape", "sigma"), [((14, 17, 23), 1.0), ((5, 9, 8), 2.0), ((2, 3, 30), 0.0), ((31, 44), 1.3), ((2, 40), 0.5)]
)
def test_equal_to_scikit_image(form: str, dtype: str, shape: Any, sigma: float) -> None:
    """Every eigenvalue, in 2-D and 3-D, up to the edge: scikit-image's of the image as float32.

    Where the result varies much less than what it is the difference of, float32's resolution of that counts: of
    the smoothed image, and of the greatest eigenvalue.
    """
    x = image(shape, dtype)
    most = float(x.max()) if form == "hessian" else float(by_skimage(form, x, sigma, 1).max())
    for which in range(1, x.ndim + 1):
        found = FORMS[form][0](x, (sigma,) * x.ndim, whole(shape), which)
        expected = by_skimage(form, x, sigma, which)
        assert found.dtype == np.float32
        assert np.abs(found - expected).max() <= max(1e-5 * np.ptp(expected), 6e-7 * most)


@each_form
@pytest.mark.parametrize("shape", [(1, 12, 13), (9, 1, 13), (9, 12, 1), (1, 1, 1), (1, 13), (1, 1)])
def test_axes_of_one_voxel_have_no_derivative(form: str, shape: Any) -> None:
    """Along an axis of one voxel derivatives are 0: the eigenvalues are those of the other axes, and 0."""
    x = image(shape, "float32")
    flat = x.squeeze()
    whole_set = [FORMS[form][0](x, (1.0,) * x.ndim, whole(shape), which) for which in range(1, x.ndim + 1)]
    if flat.ndim == 2:
        # Sobel sums over the missing axis with weights 1 2 1.
        factor = 16 if form == "structure tensor" else 1
        others = [factor * by_skimage(form, flat, 1.0, which).reshape(shape) for which in (1, 2)]
        wanted = -np.sort(-np.array([*others, np.zeros(shape)]), axis=0)
        assert np.abs(np.array(whole_set) - wanted).max() <= 1e-5 * np.ptp(wanted)
    else:
        sizes = np.sort(np.abs(whole_set), axis=0)
        assert not sizes[:-1].any()
        assert sizes[-1].any() == (max(shape) > 1)


@each_form
def test_flat_images_give_0(form: str) -> None:
    """A flat image has no eigenvalue but 0, exactly for the structure tensor."""
    for shape in ((6, 7, 8), (9, 10)):
        x = np.full(shape, 1000.1, np.float32)
        for which in range(1, len(shape) + 1):
            found = FORMS[form][0](x, (1.0,) * len(shape), whole(shape), which)
            assert np.array_equal(found, np.zeros(shape, np.float32))


@each_form
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_shifted_crops_give_the_same_bits(form: str, axis: int) -> None:
    """Crops that start 1 to 17 voxels on have the bits of the whole, in whatever lane their voxels come."""
    act, beyond = FORMS[form]
    shape = [9, 10, 11]
    shape[axis] = 41
    x = image(shape, "float32")
    for sigma in (0.0, 0.8):
        for which in (1, 2, 3):
            expected = act(x, (sigma,) * 3, whole(shape), which)
            for shift in range(which, 18, 3):
                inner = Box(tuple(shift if a == axis else 0 for a in range(3)), tuple(shape))
                outer = inner.grow([gaussian_radius(sigma) + beyond] * 3, shape)
                found = act(x[outer.slices], (sigma,) * 3, inner.within(outer), which)
                assert found.tobytes() == expected[inner.slices].tobytes()


@given(st.data())
@settings(max_examples=60)
def test_any_block_gives_the_bits_of_the_whole(data: st.DataObject) -> None:
    """Any box, in slabs of any height, with its halo clipped at the edges, has the bits of the whole's result."""
    act, beyond = FORMS[data.draw(st.sampled_from(sorted(FORMS)))]
    shape = data.draw(st.sampled_from([(9, 11, 30), (13, 30)]))
    x = noise(shape, "uint8")
    sigma = tuple(data.draw(st.sampled_from([0, 0.5, 1.2])) for _ in shape)
    which = data.draw(st.integers(1, len(shape)))
    start = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    inner = Box(start, tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, shape, strict=True)))
    outer = inner.grow([gaussian_radius(s) + beyond for s in sigma], shape)
    expected = act(x, sigma, whole(shape), which)[inner.slices]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensors, "_SLAB", data.draw(st.sampled_from([1, 400, 1 << 19])))
        found = act(x[outer.slices], sigma, inner.within(outer), which)
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
@pytest.mark.parametrize(
    ("outer", "keep"),
    [
        ((44, 140, 140), (slice(8, 36), slice(8, 132), slice(0, 132))),
        ((4, 700, 300), (slice(0, 4), slice(0, 700), slice(0, 292))),
        ((500, 700), (slice(0, 490), slice(10, 700))),
    ],
)
def test_working_bytes_are_what_is_held(outer: Any, keep: Any, dtype: str) -> None:
    """The peak beside input and result is below what is declared, and not by much."""
    x = np.ones(outer, dtype)
    inner, sigma = tuple(k.stop - k.start for k in keep), (1.5,) * len(outer)
    for act, working_bytes in (
        (hessian_eigenvalue, hessian_working_bytes),
        (structure_tensor_eigenvalue, structure_tensor_working_bytes),
    ):
        result, most = bytes_held(act, x, sigma, keep, 1)
        peak = most - result.nbytes
        declared = working_bytes(outer, inner, sigma, dtype)
        assert 0.75 * declared <= peak <= declared + 8192


def test_what_there_is_not_is_refused() -> None:
    """Eigenvalues beyond the number of axes, and images of one axis, are refused."""
    with pytest.raises(ParameterError, match="expected 1 to 2"):
        hessian_eigenvalue(np.zeros((5, 5)), (1, 1), whole((5, 5)), 3)
    with pytest.raises(ParameterError, match="2 or 3 axes"):
        structure_tensor_eigenvalue(np.zeros(5), (1,), whole((5,)), 1)
    with pytest.raises(ParameterError, match="2 x 2 or 3 x 3"):
        symmetric_eigenvalues([np.zeros(3, np.float32)], 1)

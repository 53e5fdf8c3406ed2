"""Components through the whole engine: hard shapes, random volumes and blocks, scipy's own tests, shifted crops."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import filters

import bigseg
from bigseg.engine.cluster.executor import DaskExecutor
from bigseg.errors import ParameterError
from bigseg.ops.registry import OPS
from bigseg.pipeline.pipeline import Pipeline
from tests.volumes import store

Blocks = tuple[int, ...]


def run(tmp: Path, array: np.ndarray, name: str, block: Blocks, **parameters: object) -> np.ndarray:
    """One operation on an array through the engine, serially."""
    volume = store(tmp / "volume.zarr", array) if not (tmp / "volume.zarr").exists() else tmp / "volume.zarr"
    out = tmp / f"run-{len(list(tmp.iterdir()))}"
    found = Pipeline([OPS[name](**parameters)]).run(volume, out, block=block, workers=0, report=False)
    return np.asarray(found.outputs[name])


def spiral(n: int) -> np.ndarray:
    """A square spiral one voxel wide with gaps of one: a single 4-connected object that crosses every block."""
    image = np.zeros((n, n), np.uint8)
    y, x, dy, dx = 0, 0, 0, 1
    image[0, 0] = 1

    def free(row: int, column: int) -> bool:
        return not (0 <= row < n and 0 <= column < n and image[row, column])

    while True:
        y1, x1, y2, x2 = y + dy, x + dx, y + 2 * dy, x + 2 * dx
        if not (0 <= y1 < n and 0 <= x1 < n and free(y2, x2)):
            dy, dx = dx, -dy
            y1, x1, y2, x2 = y + dy, x + dx, y + 2 * dy, x + 2 * dx
            if not (0 <= y1 < n and 0 <= x1 < n and free(y2, x2)) or image[y1, x1]:
                return image
        y, x = y1, x1
        image[y, x] = 1


def comb(shape: tuple[int, ...]) -> np.ndarray:
    """Teeth along z that meet only in the last plane: every block's components join at the very end."""
    image = np.zeros(shape, np.uint8)
    image[:, ::2, ::2] = 1
    image[-1] = 1
    return image


def stairs(n: int) -> np.ndarray:
    """Voxels along the space diagonal: joined only through corners (connectivity 3), never through faces."""
    image = np.zeros((n, n, n), np.uint8)
    image[range(n), range(n), range(n)] = 1
    return image


HARD = {
    "spiral": spiral(41),
    "two spirals": np.stack([spiral(23), np.zeros((23, 23), np.uint8), spiral(23).T]),
    "comb": comb((19, 20, 21)),
    "stairs": stairs(18),
    "checkerboard": (np.indices((12, 13, 14)).sum(0) % 2).astype(np.uint8),
    "full": np.ones((9, 10, 11), np.uint8),
    "empty": np.zeros((9, 10, 11), np.uint8),
}


@pytest.mark.parametrize("name", HARD)
def test_shapes_that_cross_every_block(name: str, tmp_path: Path) -> None:
    """Spirals, combs, diagonals and checkerboards get scipy's labels for every connectivity and block."""
    array = HARD[name]
    for connectivity in range(1, array.ndim + 1):
        wanted, _ = ndimage.label(array, ndimage.generate_binary_structure(array.ndim, connectivity))
        for side in (3, 7):
            found = run(tmp_path, array, "label", (side,) * array.ndim, connectivity=connectivity)
            np.testing.assert_array_equal(found, wanted)


shapes = st.one_of(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 14), st.integers(1, 14), st.integers(1, 14)),
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, int, Blocks]:
    """A random volume of some density, a connectivity, and any block."""
    shape = draw(shapes)
    density = draw(st.floats(0.05, 0.95))
    seed = draw(st.integers(0, 2**31))
    array = (np.random.default_rng(seed).random(shape) < density).astype(np.uint8)
    smoothing = draw(st.sampled_from([0.0, 0.0, 1.0]))
    if smoothing:
        smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), smoothing)
        array = (smooth < np.quantile(smooth, density)).astype(np.uint8)
    block = tuple(draw(st.integers(1, n + 3)) for n in shape)
    least = [max(b, -(-n // 4)) for b, n in zip(block, shape, strict=True)]  # at most 64 blocks: time
    return array, draw(st.integers(1, len(shape))), tuple(least)


@settings(max_examples=50)
@given(cases())
def test_label_of_random_volumes(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[np.ndarray, int, Blocks]
) -> None:
    """Any volume, density, connectivity and block: exactly scipy.ndimage.label's array, ids included."""
    array, connectivity, block = case
    wanted, _ = ndimage.label(array, ndimage.generate_binary_structure(array.ndim, connectivity))
    found = run(tmp_path_factory.mktemp("label"), array, "label", block, connectivity=connectivity)
    np.testing.assert_array_equal(found, wanted)


@settings(max_examples=40)
@given(cases(), st.sampled_from(["uint8", "int16", "float32"]), st.sampled_from(["above", "below"]), st.integers(0, 9))
def test_hysteresis_of_random_volumes(
    tmp_path_factory: pytest.TempPathFactory,
    case: tuple[np.ndarray, int, Blocks],
    dtype: str,
    polarity: str,
    min_size: int,
) -> None:
    """Any volume, polarity, connectivity, size limit and block: exactly the whole-array hysteresis."""
    mask, connectivity, block = case
    noise = np.random.default_rng(mask.size).integers(0, 100, mask.shape)
    array = (noise // 2 + 50 * mask).astype(dtype)
    low, high = 40, 70
    sign = 1 if polarity == "above" else -1
    weak_limit, strong_limit = (low, high) if sign > 0 else (high, low)
    weak = sign * array.astype(np.float64) > sign * weak_limit
    labels, count = ndimage.label(weak, ndimage.generate_binary_structure(array.ndim, connectivity))
    strong = np.unique(labels[sign * array.astype(np.float64) > sign * strong_limit])
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    wanted = np.isin(labels, strong[strong > 0]) & (sizes[labels] >= min_size)
    if polarity == "above" and connectivity == 1 and not min_size:
        np.testing.assert_array_equal(wanted, filters.apply_hysteresis_threshold(array, low, high))
    found = run(
        tmp_path_factory.mktemp("hysteresis"),
        array,
        "hysteresis",
        block,
        low=low,
        high=high,
        polarity=polarity,
        connectivity=connectivity,
        min_size=min_size,
    )
    np.testing.assert_array_equal(found.astype(bool), wanted)


@pytest.mark.parametrize("name", ["gaussian", "median"])
def test_shifted_crops_give_the_same_bits(name: str) -> None:
    """A voxel's result has the same bits however far its crop begins from the vector units' boundaries."""
    parameters = {"gaussian": {"sigma": 1.7}, "median": {"size": 5}}[name]
    operation = OPS[name](**parameters)
    from bigseg.functions import apply_local, describe

    for dtype, shape in product(("uint8", "uint16", "float32"), ((61, 83), (31, 37, 67))):
        array = (np.random.default_rng(3).random(shape) * 250).astype(dtype)
        whole = apply_local(operation, array)
        depth = operation.depth(describe(array))
        for shift in range(1, 18):
            crop = tuple(slice(min(shift, n // 4), None) for n in shape)
            part = apply_local(operation, np.ascontiguousarray(array[crop]))
            inner = tuple(slice(d, None) for d in depth)
            np.testing.assert_array_equal(part[inner], whole[crop][inner])


def test_dask_and_serial_agree_on_hard_shapes(tmp_path: Path, cluster: DaskExecutor) -> None:
    """The Dask executor gives the serial executor's labels, bit for bit."""
    for name in ("comb", "stairs", "checkerboard"):
        volume = store(tmp_path / f"{name}.zarr", HARD[name])
        pipeline = Pipeline([OPS["label"](connectivity=3)])
        serial = pipeline.run(volume, tmp_path / f"{name}-serial", block=(5,), workers=0, report=False)
        address = cluster.client.scheduler.address
        dask = pipeline.run(volume, tmp_path / f"{name}-dask", block=(5,), scheduler=address, report=False)
        np.testing.assert_array_equal(dask.outputs["label"], serial.outputs["label"])


def test_scipys_own_label_tests() -> None:
    """Every 2-D and 3-D label test in scipy's wheel passes with our label in place of scipy's."""
    tests = Path(scipy.__file__).parent / "ndimage" / "tests" / "test_measurements.py"
    if not tests.is_file():
        pytest.skip("this scipy was installed without its tests")
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "pytest", "-p", "tests.ops.scipy_label_plugin", "-p", "no:cacheprovider"]
    options = ["-k", "label", "-q", "-c", os.devnull, "--rootdir", str(tests.parent)]
    done = subprocess.run(
        [*command, *options, str(tests)],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        timeout=250,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "failed" not in done.stdout
    answered = [line for line in done.stdout.splitlines() if line.startswith("bigseg answered ")]
    assert answered, done.stdout[-2000:]
    assert int(answered[0].split()[2]) >= 20


@pytest.mark.parametrize(
    ("dtype", "background"), [("int16", 1000), ("int8", -128), ("int64", 2**62), ("uint64", 2**64 - 1), ("bool", 1)]
)
def test_any_value_of_the_dtype_can_be_the_background(dtype: str, background: int) -> None:
    """Whatever an image can hold can be its background; other numbers are refused with the range."""
    image = np.full((2, 5), background, np.uint8 if dtype == "bool" else dtype).astype(dtype)
    image[0, 1] = image[1, 3] = 0
    assert bigseg.label(image, background=background).tolist() == [[0, 1, 0, 0, 0], [0, 0, 0, 2, 0]]
    with pytest.raises(ParameterError, match=rf"is no value of {dtype}.*: expected .* to "):
        bigseg.label(image, background=2**64)

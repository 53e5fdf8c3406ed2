"""R15: any shape, chunks, shards, block, depth, threads, order and schedule of faults gives the oracle's bits.

The pipeline is gaussian, hysteresis, remove_small, label and a table; the oracle is the same on the whole array, by
scikit-image and scipy (the gaussian, a float filter, by bigseg on the whole array at once). Blocks run in any order on
one to three threads; the run is cut off after any number of blocks, any number of times, and continued with another
order.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import zarr
from hypothesis import HealthCheck, given, settings
from scipy import ndimage
from skimage.filters import apply_hysteresis_threshold

import bigseg
from bigseg.engine.serial import SerialExecutor
from bigseg.engine.work import Done, Work, attempt
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.prepared import Settings
from bigseg.pipeline.running import run_prepared
from tests.faults import chain
from tests.faults.driver import fast_folder
from tests.faults.run import Row

TESTS = ("R15",)
BESIDE = True


class _Cut(BaseException):
    """Ends a run as a kill would: nothing of the driver's own is written any more."""


@dataclass
class Shuffled(SerialExecutor):
    """Runs units in any order on some threads, and is cut off after some of them.

    Parameters
    ----------
    seed : of the order.
    threads : units at a time.
    lives : after how many units of all stages it is cut off; below 0: never.
    """

    seed: int
    threads: int = 1
    lives: int = -1

    def run(self, work: Work, bricks: Iterable[Sequence[int]]) -> Generator[Done]:
        units = [unit for brick in bricks for unit in brick]
        random.Random(f"{self.seed} {work.stage}").shuffle(units)
        with ThreadPoolExecutor(self.threads) as pool:
            for first in range(0, len(units), self.threads):
                for done in list(pool.map(lambda unit: attempt(work, unit), units[first : first + self.threads])):
                    if not self.lives:
                        raise _Cut
                    self.lives -= 1
                    yield done


@dataclass(frozen=True)
class Example:
    """One drawn case."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    shards: tuple[int, ...]
    block: tuple[int, ...]
    sigma: float
    connectivity: int
    min_size: int
    threads: int
    cuts: tuple[int, ...]
    seed: int


@st.composite
def examples(draw: Callable[[Any], Any]) -> Example:
    """Small volumes in 2-D and 3-D, cut in every way."""
    ndim = draw(st.sampled_from((2, 3, 3)))
    side = st.integers(1, 40 if ndim == 2 else 22)
    shape = tuple(draw(side) for _ in range(ndim))
    chunks = tuple(draw(st.integers(1, 16)) for _ in range(ndim))
    shards = tuple(chunk * draw(st.integers(1, 3)) for chunk in chunks)
    block = tuple(draw(st.integers(max(1, n // 4), n + 3)) for n in shape)
    return Example(
        shape,
        chunks,
        shards,
        block,
        draw(st.sampled_from((0.5, 1.0, 2.3))),
        draw(st.integers(1, ndim)),
        draw(st.integers(1, 8)),
        draw(st.integers(1, 3)),
        tuple(draw(st.lists(st.integers(0, 20), max_size=4))),
        draw(st.integers(0, 2**32 - 1)),
    )


def voxels(example: Example) -> np.ndarray:
    """Noise, smoothed a little: objects of all sizes."""
    noise = ndimage.gaussian_filter(np.random.default_rng(example.seed).standard_normal(example.shape), 1.0)
    return (120 + 200 * noise).clip(0, 255).astype(np.uint8)


def oracle(example: Example, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mask and labels of the whole array."""
    smooth = np.asarray(bigseg.gaussian(array, sigma=example.sigma))
    mask = apply_hysteresis_threshold(smooth, np.float32(130), np.float32(150))
    if example.connectivity != 1:  # scikit-image joins by faces alone
        weak, count = ndimage.label(
            smooth > np.float32(130), ndimage.generate_binary_structure(array.ndim, example.connectivity)
        )
        strong = np.zeros(count + 1, bool)
        strong[weak[smooth > np.float32(150)]] = True
        mask = strong[weak] & (weak > 0)
    structure = ndimage.generate_binary_structure(array.ndim, example.connectivity)
    labels, count = ndimage.label(mask, structure)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    clean = (sizes >= example.min_size)[labels] & (labels > 0)
    return mask, ndimage.label(clean, structure)[0]


def check(example: Example, folder: Path) -> int:
    """Run it to its end through all its cuts and compare; gives back how often it was cut off."""
    array = voxels(example)
    shutil.rmtree(folder, ignore_errors=True)
    stored = zarr.create_array(
        store=str(folder / "volume.zarr"),
        shape=array.shape,
        dtype=array.dtype,
        chunks=example.chunks,
        shards=example.shards,
        config={"write_empty_chunks": True},
    )
    stored[...] = array
    steps = [
        {"id": "smooth", "op": "gaussian", "sigma": example.sigma},
        {"id": "bright", "op": "hysteresis", "low": 130, "high": 150, "connectivity": example.connectivity},
        {"id": "clean", "op": "remove_small", "min_size": example.min_size, "connectivity": example.connectivity},
        {"id": "objects", "op": "label", "connectivity": example.connectivity},
        {"id": "regions", "op": "regions"},
    ]
    pipeline = Pipeline.from_dict({"version": 1, "steps": steps, "save": ["bright", "objects"]})
    out, cut = folder / "run", 0
    for number, lives in enumerate((*example.cuts, -1)):
        prepared, _ = pipeline.check(
            str(folder / "volume.zarr"), out, Settings(example.block, 0, 4 << 30, report=False)
        )
        executor = Shuffled(example.seed + number, example.threads, lives)
        try:
            run = run_prepared(pipeline.as_dict(), prepared, lambda executor=executor: executor, lambda *_: None)
        except _Cut:
            cut += 1
            assert chain.status(out) == "incomplete"
    mask, labels = oracle(example, array)
    np.testing.assert_array_equal(run.outputs["bright"].values, mask)
    np.testing.assert_array_equal(run.outputs["objects"].values, labels)
    np.testing.assert_array_equal(run.tables["regions"]["num_pixels"], np.bincount(labels.ravel())[1:])
    assert set(chain.recorded(out).values()) <= {1}
    assert chain.leftovers(out) == []
    return cut


def draw(count: int) -> tuple[int, int]:
    """Draw so many examples; gives back how many, and how many cuts there were."""
    folder = fast_folder()
    seen = [0, 0]

    @settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(examples())
    def every(example: Example) -> None:
        seen[1] += check(example, folder)
        seen[0] += 1

    try:
        every()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return seen[0], seen[1]


def full() -> Row:
    """200 examples."""
    count, cuts = draw(200)
    return Row("R15", "drawn shapes, cuts, orders, threads, schedules", count, count, f"cut off {cuts} times")

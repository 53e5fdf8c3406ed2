"""The benchmarks' test volume does not depend on the blocks it is made in."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from .volume import VERSION, open_array, prepare, threshold_above, voxels

SHAPE = (40, 53, 75)


@pytest.mark.parametrize("block", [(7, 53, 24), (40, 1, 75), (16, 16, 16), (13, 50, 31)])
def test_voxels_do_not_depend_on_the_block(block: tuple[int, int, int]) -> None:
    """A box made whole equals the same box pieced together from any blocks, away from the origin too."""
    origin = (5, 119, 20)
    whole = voxels(origin, SHAPE)
    pieces = np.zeros(SHAPE, np.uint16)
    for corner in itertools.product(*(range(0, n, b) for n, b in zip(SHAPE, block, strict=True))):
        stop = [min(c + b, n) for c, b, n in zip(corner, block, SHAPE, strict=True)]
        box = tuple(slice(c, s) for c, s in zip(corner, stop, strict=True))
        start = tuple(o + c for o, c in zip(origin, corner, strict=True))
        pieces[box] = voxels(start, tuple(s - c for c, s in zip(corner, stop, strict=True)))
    np.testing.assert_array_equal(pieces, whole)


def test_the_definition_has_not_moved() -> None:
    """The first voxels and a digest stay as published: a change of the definition must raise VERSION."""
    block = voxels((0, 0, 0), (32, 32, 32))
    assert (VERSION, int(block.sum(dtype=np.int64)), int(block[3, 4, 5])) == (3, 364410043, 9891)


def test_prepare_writes_the_volume_and_its_thresholds(tmp_path: Path) -> None:
    """The stored volume is the generated one; 40 % and 20 % lie above its thresholds; a second call reads."""
    made = prepare(tmp_path, 96)
    stored = open_array(made.path).read().result()
    np.testing.assert_array_equal(stored, voxels((0, 0, 0), (96, 96, 96)))
    np.testing.assert_array_equal(open_array(made.mask).read().result(), stored > made.low)
    assert abs(made.weak_fraction - 0.40) < 0.001
    assert abs(made.strong_fraction - 0.20) < 0.001
    assert prepare(tmp_path, 96) == made


def test_threshold_above_counts_strictly() -> None:
    """Of the values 0, 1, 2, 3 once each, half lie strictly above 1."""
    assert threshold_above(np.ones(4, np.int64), 0.5) == 1

"""Features of a few voxels: the same bits as those of all."""

from __future__ import annotations

import numpy as np
import pytest

from bigseg.local.features import stack as stack_module
from bigseg.local.features.picking import features_at
from bigseg.local.features.stack import features_of
from bigseg.local.models.sampling import chosen_in, hashes, limit_of
from bigseg.ops.learning.features import Features
from bigseg.storage.spec import Spec
from tests.local.crops import textured, whole


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("shape", [(14, 19, 23), (33, 41)])
def test_picked_features_are_those_of_all(shape: tuple[int, ...], alone: bool) -> None:
    """Each by itself or tile by tile, in a part of the array or all, at edges and inside, positions too."""
    x = textured(shape, "uint16")
    spec = Spec(shape, x.dtype, ("z", "y", "x")[-len(shape) :], (1.0,) * len(shape))
    stack = Features(
        intensity=True, position=3, gaussian=1, hessian_eigenvalues=0.7, structure_tensor_eigenvalues=1, neighbours=1
    ).stack(spec)
    for keep in (whole(shape), tuple(slice(2, n - 3) for n in shape)):
        start = tuple(part.start for part in keep)
        expected = features_of(stack, [x], keep, start).reshape(len(stack.names), -1)
        places = np.random.default_rng(1).permutation(expected.shape[1])[:40]
        found = features_at(stack, [x], keep, places, start, alone)
        assert found.tobytes() == expected[:, places].tobytes()
    assert features_at(stack, [x], keep, places[:0], start).shape == (len(stack.names), 0)


@pytest.mark.parametrize("shape", [(14, 39, 23), (90, 41)])
def test_picked_features_do_not_depend_on_tiles(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Planes at a time, and strips of their rows: voxels of a part of the array, of any of its rows, in any order."""
    x = textured(shape, "uint16")
    stack = Features(intensity=True, gaussian=1).stack(Spec(shape, x.dtype, "zyx"[-len(shape) :], (1.0,) * len(shape)))
    keep = whole(shape)
    expected = features_of(stack, [x], keep).reshape(len(stack.names), -1)
    picked = np.zeros(shape, bool)
    picked[tuple(slice(3, -2) for _ in shape)] = np.random.default_rng(2).random([n - 5 for n in shape]) < 0.3
    places = np.random.default_rng(3).permutation(np.flatnonzero(picked))
    for limit in (1, 20_000, 1 << 20):
        monkeypatch.setattr(stack_module, "MATRIX_BYTES", limit)
        assert len(list(stack.tiles([x], keep))) > 1 or limit > 20_000
        assert features_at(stack, [x], keep, places, alone=False).tobytes() == expected[:, places].tobytes()


@pytest.mark.parametrize("shape", [(7, 9, 11), (20, 31)])
def test_chosen_voxels_do_not_depend_on_boxes(shape: tuple[int, ...]) -> None:
    """Every voxel whose hash is not above the limit, and no other, in whatever boxes they are looked for."""
    index = np.arange(np.prod(shape), dtype=np.uint64).reshape(shape)
    limit = limit_of(3, index.size)
    wanted = np.flatnonzero(hashes(5, index) <= np.uint64(limit))
    inside = np.random.default_rng(0).random(shape) < 0.6
    assert 3 < wanted.size < index.size / 2
    for cut in range(1, shape[-1]):
        found, masked = [], []
        for part in (slice(0, cut), slice(cut, shape[-1])):
            box = index[..., part]
            args = 5, limit, (0,) * (len(shape) - 1) + (part.start,), box.shape, shape
            chosen = chosen_in(*args)
            found.append(box.reshape(-1)[chosen.places])
            np.testing.assert_array_equal(chosen.hashes, hashes(5, found[-1]))
            masked.append(box.reshape(-1)[chosen_in(*args, inside[..., part]).places])
        np.testing.assert_array_equal(np.sort(np.concatenate(found)), wanted)
        np.testing.assert_array_equal(np.sort(np.concatenate(masked)), wanted[inside.reshape(-1)[wanted]])


def test_limit_leaves_enough() -> None:
    """Of as many voxels as there are or fewer all are looked at; else a few more than are wanted."""
    assert limit_of(10, 10) == limit_of(10, 3) == (1 << 64) - 1
    assert 10_000 < 10**9 * limit_of(10_000, 10**9) / 2**64 < 11_300
    assert 10**12 * limit_of(0, 10**12) / 2**64 == pytest.approx(12)

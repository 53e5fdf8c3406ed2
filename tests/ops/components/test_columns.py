"""What rows of objects hold and amount to: exact at any place and size, and no more than is asked for."""

from __future__ import annotations

from itertools import pairwise, product
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from bigseg.grid import Box
from bigseg.local.components.bitmask import different
from bigseg.local.components.block import label, label_equal
from bigseg.local.components.values import shift_of
from bigseg.ops.components.columns import geometry, intensities
from bigseg.ops.components.measures import EVERY, GROUPS, Measure, Rows, groups_of, row_bytes, rows_of
from bigseg.ops.components.rows import merged, stacked
from bigseg.storage.spec import Spec

SECOND = Measure(0, ("second",), "uint8")
SUMS = ("min", "max", "sum", "centre")


def spec_of(shape: tuple[int, ...], spacing: tuple[float, ...] | None = None) -> Spec:
    axes = ("z", "y", "x")[-len(shape) :]
    return Spec(shape, np.dtype("uint8"), axes, spacing or (1.0,) * len(shape))


def value(rows: Rows, name: str, row: int = 0) -> int:
    """A wide column as a Python integer."""
    parts = [f"{name}-{part}" for part in ("top", "high", "low")]
    found = 0
    for part in parts:
        if part in rows:
            found = (found << 32) + int(rows[part][row])
    return found


@given(st.sampled_from([(3, 4, 20), (5, 30)]), st.integers(0, 2**31 - 100), st.integers(0, 2**20))
@settings(max_examples=20)
def test_rows_are_exact_wherever_the_block_lies(shape, far, seed):
    """Second moments and weighted sums of a block far from the corner are those of unbounded integers."""
    rng = np.random.default_rng(seed)
    start = (*rng.integers(0, 20_000, len(shape) - 1).tolist(), far)
    values = rng.integers(1, 3, shape).astype(np.uint8)
    image = rng.integers(-(2**31), 2**31, shape).astype(np.int32)
    box = Box(start, tuple(s + n for s, n in zip(start, shape, strict=True)))
    measures = [SECOND, Measure(1, SUMS, "int32", (-(2.0**31), 2.0**31))]
    volume = (*(20_100 for _ in shape[1:]), 2**31)
    rows = rows_of(label_equal(values), box, volume, measures, [values, image])
    n = len(rows["size"])
    found = {name: merged(name, column, np.zeros(n, np.int64), 1) for name, column in rows.items()}
    places = [axis.ravel().tolist() for axis in np.indices(shape) + np.array(start).reshape(-1, *[1] * len(shape))]
    for a in range(len(shape)):
        assert value(found, f"m1-centre-{a}") == sum(
            p * v for p, v in zip(places[a], image.ravel().tolist(), strict=True)
        )
        for b in range(a, len(shape)):
            assert value(found, f"second-{a}-{b}") == sum(p * q for p, q in zip(places[a], places[b], strict=True))
    assert value(found, "m1-square") == sum(v * v for v in image.ravel().tolist())


def test_a_box_of_a_million_million_voxels():
    """Rows of 10^12 voxels, as blocks of 2^31 add up to, give moments to 15 digits; floats of full scale, too."""
    shape = (10_000, 10_000, 10_000)
    n = prod(shape)
    line = [sum(k**p for k in range(10_000)) for p in range(3)]
    rows: Rows = {"size": np.array([n])}
    for a in range(3):
        rows[f"sum-{a}"] = np.array([line[1] * 10**8])
        for b in range(a, 3):
            whole = line[2] * 10**8 if a == b else line[1] ** 2 * 10**4
            # in parts as 466 blocks leave them
            each, rest = divmod(whole, 466)
            parts = [each] * 465 + [each + rest]
            rows[f"second-{a}-{b}-high"] = np.array([sum(part >> 32 for part in parts)])
            rows[f"second-{a}-{b}-low"] = np.array([sum(part & 0xFFFFFFFF for part in parts)])
    columns = geometry(rows, np.array([0]), spec_of(shape, (1.0, 2.0, 3.0)))
    variance = (10**8 - 1) / 12
    for a, step in enumerate((1, 2, 3)):
        assert columns[f"covariance-{a}-{a}"][0] == pytest.approx(variance * step**2, rel=1e-14)
        for b in range(a + 1, 3):
            assert abs(columns[f"covariance-{a}-{b}"][0]) < 1e-6
    assert columns["axis_major_length"][0] == pytest.approx((20 * variance) ** 0.5 * 3, rel=1e-14)
    assert [columns[f"principal_axes-0-{a}"][0] for a in range(3)] == pytest.approx([0, 0, 1], abs=1e-12)
    bright, dark = 2**30, 2**30 - 1
    sums, squares = n // 2 * (bright + dark), n // 2 * (bright**2 + dark**2)
    item = Measure(1, ("sum",), "float32", (0.0, 1.0))
    rows |= {"m1-sum-high": np.array([sums >> 32]), "m1-sum-low": np.array([sums & 0xFFFFFFFF])}
    for part, shift in (("top", 64), ("high", 32), ("low", 0)):
        rows[f"m1-square-{part}"] = np.array([squares >> shift & (2**32 - 1 if shift < 64 else -1)])
    rows |= {"m1-min": np.array([dark * 2.0**-30]), "m1-max": np.array([1.0])}
    found = intensities(rows, np.array([0]), item)
    assert found["intensity_mean"][0] == 1 - 2.0**-31
    assert found["intensity_std"][0] == 2.0**-31


@pytest.mark.parametrize("ndim", [2, 3])
def test_only_what_is_wanted_is_kept(ndim):
    """Every group can be left out, what is built on another brings it, and the bytes of a row are as said."""
    shape = (4, 6, 70)[-ndim:]
    array = np.ones(shape, np.uint8)
    array[..., ::3] = 0
    found, box = label(different(array), 1), Box((0,) * ndim, shape)
    columns = {"first": 1, "size": 1, "box": 2 * ndim, "centre": ndim, "second": ndim * (ndim + 1), "surface": 2**ndim}
    codes = np.zeros(shape, np.uint16)
    several = (Measure(0, ("max",), "uint8"), Measure(0, ("second",), "uint8"), Measure(0, SUMS, "uint8"))
    surface = Measure(1, ("surface", "closed"), "uint16")
    for groups, measures in product(
        ((), ("first",), ("size",), ("box", "first"), ("centre", "size"), GROUPS, ("second",)),
        ((), *((item,) for item in several), (surface,)),
    ):
        rows = rows_of(found, box, shape, measures, [array, codes], groups)
        wanted = groups_of(groups, measures)
        assert "size" in wanted or not {"centre", "second"} & set(wanted)
        assert ("first" in rows) == ("first" in groups)
        measured = [name for name in rows if name.startswith("m0-")]
        assert len(rows) - len(measured) == sum(columns[name] for name in wanted)
        assert sum(column.nbytes for column in rows.values()) == found.n * row_bytes(ndim, groups, measures)
        assert all(len(column) == found.n for column in rows.values())
    assert set(rows_of(found, box, shape, [], [])) == set(rows_of(found, box, shape, [], [], GROUPS))
    assert set(columns) == EVERY


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_any_cut_into_blocks_adds_up_to_the_same_rows(dtype):
    """Rows of blocks, joined by name, are those of the volume in one block, bit for bit, and so are the columns."""
    shape = (9, 11, 70)
    rng = np.random.default_rng(12)
    labels = ndimage.zoom(rng.integers(0, 4, (3, 4, 24)), 3, order=0)[tuple(map(slice, shape))].astype(np.uint16)
    image = (rng.normal(50, 2000, shape)).astype(dtype) if dtype == "float32" else rng.integers(0, 65536, shape, dtype)
    measures = [SECOND, Measure(1, SUMS, dtype, (-1e4, 1e4), spacing=(2.0, 1.0, 0.5), origin=(5.0, 0.0, 1.0))]

    def joined(cuts: list[tuple[int, ...]]) -> Rows:
        parts, groups = [], []
        for ends in product(*([*pairwise(cut)] for cut in cuts)):
            box = Box(tuple(a for a, _ in ends), tuple(b for _, b in ends))
            inner = tuple(slice(a, b) for a, b in ends)
            found = label_equal(labels[inner])
            rows = rows_of(found, box, shape, measures, [labels[inner], np.ascontiguousarray(image[inner])])
            groups.append(labels.reshape(-1)[rows["first"]].astype(np.int64) - 1)
            parts.append(rows)
        group = np.concatenate(groups)
        return {name: merged(name, column, group, 3) for name, column in stacked(parts).items()}

    shown, spec = np.arange(3), spec_of(shape, (2.0, 1.0, 0.5))
    tables = []
    for cuts in ([(0, 9), (0, 11), (0, 70)], [(0, 1, 5, 9), (0, 4, 11), (0, 3, 64, 70)]):
        rows = joined(cuts)
        tables.append({**geometry(rows, shown, spec), **intensities(rows, shown, measures[1])})
    assert {name for name in tables[0] if not np.array_equal(tables[0][name], tables[1][name])} == set()
    under = labels == 2
    step, origin = np.array((2.0, 1.0, 0.5)), np.array((5.0, 0.0, 1.0))
    weighted = [np.average(axis[under], weights=image[under].astype(float)) for axis in np.indices(shape)]
    found = [tables[0][f"centroid_weighted-{a}"][1] for a in range(3)]
    np.testing.assert_allclose(found, np.array(weighted) * step + origin, rtol=1e-5 if dtype == "float32" else 1e-12)


def test_shift_of_full_scale():
    """The test of 10^12 voxels uses the scale that floats up to 1 have."""
    assert shift_of(1.0) == Measure(1, ("sum",), "float32", (0.0, 1.0)).shift == 30

"""The tree of super-blocks: who meets where, what a task holds, how objects are numbered."""

from __future__ import annotations

import gc
import weakref
from itertools import pairwise, product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import bigseg
from bigseg.engine.field import Workspace
from bigseg.errors import ValuesError
from bigseg.grid import Grid
from bigseg.local.components.ranks import Ranks
from bigseg.ops.components import merging, numbering, region_tables, superblocks
from bigseg.ops.components.merging import Below, Join, forward
from bigseg.ops.components.superblocks import Intervals, Node, Tree
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.steps import Step
from tests.volumes import store

grids = st.integers(1, 3).flatmap(
    lambda ndim: st.tuples(st.tuples(*[st.integers(1, 9)] * ndim), st.tuples(*[st.booleans()] * ndim))
)


@settings(max_examples=60)
@given(grids, st.integers(1, 3))
def test_every_two_neighbours_meet_once(case: tuple[tuple[int, ...], tuple[bool, ...]], connectivity: int) -> None:
    """Over all super-blocks the meetings are all pairs of neighbours, around periodic axes too, each once."""
    counts, periodic = case
    grid = Grid(counts, (1,) * len(counts))
    directions = forward(len(counts), min(connectivity, len(counts)))
    tree = Tree(grid, periodic)
    wanted = []
    for block, direction in product(grid, directions):
        there = [p + d for p, d in zip(block.position, direction, strict=True)]
        if all(0 <= p < n or around for p, n, around in zip(there, counts, periodic, strict=True)):
            other = grid.at(tuple(p % n for p, n in zip(there, counts, strict=True)))
            wanted.append((block.number, other.number, direction))
    nodes = [tree.at(unit) for unit in range(sum(tree.rounds))]
    assert [tree.unit(node) for node in nodes] == list(range(sum(tree.rounds)))
    found = [meeting for node in nodes for meeting in tree.meetings(node, directions)]
    assert sorted(found) == sorted(wanted)


@settings(max_examples=60)
@given(grids)
def test_sides_close_when_all_neighbours_are_inside(case: tuple[tuple[int, ...], tuple[bool, ...]]) -> None:
    """Children cover their parent, the top has no open face, and a surface is what meets others later."""
    counts, periodic = case
    tree = Tree(Grid(counts, (1,) * len(counts)), periodic)
    top = Node(tree.levels, 0)
    assert tree.sides(top) == [] or (tree.levels == 0 and not any(periodic))
    directions = forward(len(counts), len(counts))
    meeting = [  # the blocks that meet in the nodes of level 1, 2, ...
        {
            block
            for number in range(count)
            for one, two, _ in tree.meetings(Node(level, number), directions)
            for block in (one, two)
        }
        for level, count in enumerate(tree.rounds, start=1)
    ]
    for unit in range(sum(tree.rounds)):
        node = tree.at(unit)
        children = tree.children(node)
        assert sum(prod(tree.blocks(child)) for child in children) == prod(tree.blocks(node))
        assert all(tree.parent(child) == (node, place) for place, child in enumerate(children))
        later = set().union(*meeting[node.level :])  # above its own level
        mine = {block for block, _ in tree.surface(node)}
        inside = set(
            np.ravel_multi_index(
                np.meshgrid(
                    *[np.arange(a, a + n) for a, n in zip(tree.first_block(node), tree.blocks(node), strict=True)],
                    indexing="ij",
                ),
                counts,
            )
            .ravel()
            .tolist()
        )
        assert later & inside <= mine


@pytest.mark.parametrize("limit", [1, 7, 100, 10**6])
def test_intervals_cover_the_volume_once(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals are whole planes, one after the other; each node's lie where its objects can begin."""
    monkeypatch.setattr(superblocks, "INTERVAL", limit)
    grid = Grid((23, 5, 4), (6, 3, 4))
    intervals, tree = Intervals(grid), Tree(grid)
    bounds = [intervals.voxels(i) for i in range(len(intervals))]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == prod(grid.shape)
    assert all(a[1] == b[0] for a, b in pairwise(bounds))
    assert all(stop - start <= max(limit, 20) for start, stop in bounds)
    for level in range(tree.levels + 1):
        for number in range(prod(tree.counts(level))):
            node = Node(level, number)
            listed = [i for i in range(len(intervals)) if node in set(intervals.nodes(tree, i))]
            assert listed == list(intervals.of(tree, node))
    first = np.sort(np.random.default_rng(3).choice(prod(grid.shape), 90, replace=False))
    parts = list(intervals.cut(first))
    np.testing.assert_array_equal(np.concatenate([first[part] for _, part in parts]), first)
    assert all(bounds[i][0] <= first[part].min() <= first[part].max() < bounds[i][1] for i, part in parts)


def test_ranks_are_those_of_sorting() -> None:
    """Ranks among marked voxels equal the places in their sorted order."""
    places = np.random.default_rng(5).choice(5000, 700, replace=False) + 1000
    ranks = Ranks(1000, 5000)
    ranks.mark(places[:300])
    ranks.mark(places[300:])
    assert ranks.count() == 700
    np.testing.assert_array_equal(ranks.of(places), np.argsort(np.argsort(places)) + 1)


@st.composite
def deep(draw: st.DrawFn) -> tuple[np.ndarray, int, tuple[int, ...]]:
    """A random volume of many small blocks, at most 320: trees of up to six levels."""
    long, short = st.integers(1, 40), st.integers(1, 8)
    planes = st.one_of(st.tuples(long, short), st.tuples(short, long))
    shape = draw(st.one_of(planes, st.tuples(*[st.integers(1, 6)] * 3)))
    block = tuple(draw(st.integers(1, 4)) for _ in shape)
    density = draw(st.floats(0.1, 0.9))
    array = np.random.default_rng(draw(st.integers(0, 2**31))).random(shape) < density
    return array, draw(st.integers(1, len(shape))), block


@settings(max_examples=25)
@given(deep(), st.sampled_from([1, 40, 1 << 26]))
def test_labels_over_random_trees(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[np.ndarray, int, tuple[int, ...]], interval: int
) -> None:
    """Whatever the tree and the intervals: scipy's labels, scipy's count, and the table of the largest objects."""
    array, connectivity, block = case
    tmp = tmp_path_factory.mktemp("tree")
    steps = [
        Step("objects", bigseg.Label(connectivity=connectivity)),
        Step("big", bigseg.KeepLargest(k=3, connectivity=connectivity)),
        Step("table", bigseg.Regions(), ("objects",)),
        Step("count", bigseg.CountObjects(connectivity=connectivity), ("input",)),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(superblocks, "INTERVAL", interval)
        run = Pipeline(steps, ["objects", "big"]).run(
            store(tmp / "v.zarr", array.astype("uint8")), tmp / "run", block=block, workers=0, report=False
        )
    wanted, count = ndimage.label(array, ndimage.generate_binary_structure(array.ndim, connectivity))
    np.testing.assert_array_equal(np.asarray(run.outputs["objects"]), wanted)
    assert run.values["count"] == {"objects": count}
    sizes = np.bincount(wanted.ravel(), minlength=count + 1)[1:]
    np.testing.assert_array_equal(run.tables["table"]["num_pixels"], sizes)
    largest = np.argsort(-sizes, kind="stable")[:3] + 1
    np.testing.assert_array_equal(np.asarray(run.outputs["big"]), np.where(np.isin(wanted, largest), wanted, 0))


def test_a_task_holds_the_components_on_faces_not_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of dense noise a join holds at most one component for two voxels of its children's faces, however many exist."""
    held: list[tuple[int, int]] = []
    rows: list[tuple[int, tuple[object, ...]]] = []
    original = Below.__init__

    def counting(self: Below, join: Join, space: Workspace, tree: Tree, node: Node) -> None:
        original(self, join, space, tree, node)
        faces = 0
        for child in tree.children(node):
            sides = [b * s for b, s in zip(tree.blocks(child), tree.grid.block, strict=True)]
            faces += sum(prod(sides) // sides[axis] for axis, _ in tree.sides(child))
        held.append((int(self.ends[-1]), faces))

    ranked = numbering.done_rows

    def reading(*arguments: object) -> object:
        found = ranked(*arguments)  # type: ignore[arg-type]
        rows.append((max(map(len, found.values()), default=0), arguments[1:]))
        return found

    monkeypatch.setattr(merging.Below, "__init__", counting)
    monkeypatch.setattr(numbering, "done_rows", reading)
    noise = np.random.default_rng(11).random((48, 48, 48)) < 0.2
    volume = store(tmp_path / "v.zarr", noise.astype("uint8"))
    run = Pipeline([bigseg.Label()]).run(volume, tmp_path / "run", block=(12,), workers=0, report=False)
    total = run.values["label"]["objects"]
    assert total == ndimage.label(noise)[1]
    assert all(count <= faces // 2 for count, faces in held)
    assert max(count for count, _ in held) < total / 2
    most = max(12**3 // 2, *(count for count, _ in held))
    assert [item for item in rows if item[0] > most] == []  # ids are given a node at a time


def test_what_a_task_held_is_gone_when_it_returns(tmp_path: Path) -> None:
    """Not first when Python's collector of cycles comes: until then joins of a large volume would fill the worker."""
    noise = np.random.default_rng(12).random((24, 24, 24)) < 0.3
    volume = store(tmp_path / "v.zarr", noise.astype("uint8"))
    begun: list[weakref.ref[Below]] = []
    original = Below.__init__

    def remembering(self: Below, *arguments: Any) -> None:
        original(self, *arguments)
        begun.append(weakref.ref(self))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging.Below, "__init__", remembering)
        gc.collect()
        gc.disable()
        try:
            Pipeline([bigseg.Label()]).run(volume, tmp_path / "run", block=(6,), workers=0, report=False)
            left = [item() for item in begun if item() is not None]
        finally:
            gc.enable()
    assert len(begun) == 9  # eight super-blocks of two blocks an axis, and the one above
    assert left == []


def test_large_tables_are_written_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit a table is a folder of parts in the order of the labels, with the same rows as one file."""
    monkeypatch.setattr(superblocks, "INTERVAL", 4 * 400)
    noise = (np.random.default_rng(2).random((20, 20, 20)) < 0.1).astype("uint8")
    volume = store(tmp_path / "v.zarr", noise)
    pipeline = Pipeline([bigseg.Label(), bigseg.Regions(intensity="input")])
    one = pipeline.run(volume, tmp_path / "one", block=(7,), workers=0, report=False)
    monkeypatch.setattr(region_tables, "ONE_FILE", 50)
    many = pipeline.run(volume, tmp_path / "many", block=(6,), workers=0)
    assert (tmp_path / "one/tables/regions.parquet").is_file()
    assert len(list((tmp_path / "many/tables/regions.parquet").glob("part-*.parquet"))) > 3
    assert one.tables["regions"].equals(many.tables["regions"])
    assert "regions" in many.report.read_text()


def test_more_objects_than_labels_can_number_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The count is checked before a label is written, and the message names the dtype that would do."""
    volume = store(tmp_path / "v.zarr", np.eye(5, dtype="uint8"))
    label = bigseg.Label(dtype="uint64")
    run = Pipeline([label]).run(volume, tmp_path / "run", block=(2,), workers=0, report=False)
    assert run.outputs["label"].dtype == np.uint64
    total = numbering.Total("objects.merge", numbering.Rank("r", None, None, (), (), False), (2,), {})  # type: ignore[arg-type]
    bound = total.bind({"r": {"counted-0@0": 3, "shown-0@0": 3}})
    monkeypatch.setattr(numbering.Rank, "units", lambda self, grid: 1)
    with pytest.raises(ValuesError, match="dtype: uint64"):
        bound.reduce(0, Workspace(Grid((5, 5), (2, 2)), None, tmp_path))  # type: ignore[arg-type]

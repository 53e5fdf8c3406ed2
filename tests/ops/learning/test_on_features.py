"""What is found from features in blocks is what is found from the features of the whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigseg.engine.field import Field, Values, Visit
from bigseg.engine.source import Held, source_field
from bigseg.engine.visit import evaluate, working_memory
from bigseg.grid import Grid
from bigseg.local.features.scaling import fit_table
from bigseg.local.features.stack import features_of
from bigseg.ops.base import Site
from bigseg.ops.learning.features import Features
from bigseg.ops.learning.on_features import OnFeatures, on_features
from bigseg.ops.registry import OPS
from bigseg.storage.scratch import Scratch
from bigseg.storage.spec import Spec
from tests.local.crops import textured, whole


@dataclass(frozen=True)
class Greatest:
    """The number of the greatest feature."""

    dtype: str = "uint8"
    cost: float = 1.0

    def memory(self, voxels: int) -> int:
        return 9 * voxels

    def bind(self, values: Values) -> Greatest:
        return self

    def find(self, planes: Any) -> Any:
        return planes.argmax(axis=0).astype(np.uint8)


@pytest.mark.parametrize("block", [(20, 26, 30), (7, 26, 11), (9, 5, 30)])
def test_blocks_do_not_show(block: tuple[int, ...], tmp_path: Path) -> None:
    """Scaled features of a filtered image and of another, positions among them: the same bits in any blocks."""
    images = [textured((20, 26, 30), "uint8"), textured((20, 26, 30), "float32", seed=1)]
    specs = [Spec(x.shape, x.dtype, ("z", "y", "x"), (1.0, 1.0, 1.0)) for x in images]
    inputs = [source_field(f"i{n}", Held(x, spec)) for n, (x, spec) in enumerate(zip(images, specs, strict=True))]
    smooth = OPS["median"](size=3).build(inputs[:1], Site("smooth"))
    assert isinstance(smooth, Field)
    stack = Features(gaussian=1, hessian_eigenvalues=0.7, position=10).stack(smooth.spec, ("a", "b"))
    arrays = [OPS["median"](size=3).compute(images[0], whole(images[0].shape), specs[0]), images[1]]  # type: ignore[attr-defined]
    table = features_of(stack, arrays, whole(images[0].shape)).reshape(len(stack.names), -1)
    scaling = fit_table("standard", table)
    kernel = OnFeatures(stack, Greatest(), ("uint8", "float32"), scaling)
    field = on_features("found", [smooth, inputs[1]], kernel)
    scaling.apply(table)
    expected = table.argmax(axis=0).astype(np.uint8).reshape(images[0].shape)
    assert len(np.unique(expected)) == len(stack.names)
    grid = Grid(images[0].shape, block)
    for item in grid:
        [found] = evaluate([field], Visit(grid, item, Scratch(str(tmp_path))))
        assert found.dtype == field.spec.dtype
        assert np.array_equal(found, expected[item.inner.slices])
    assert working_memory([field], block) > stack.memory(block, block)


def test_what_the_plan_is_told() -> None:
    """The kernel has the depth of its stack, and the cost and memory of both."""
    stack = Features(gaussian=2).stack(Spec((90, 90), np.dtype("uint8"), ("y", "x"), (1.0, 1.0)))
    kernel = OnFeatures(stack, Greatest(), ("uint8",))
    assert kernel.depth() == (8, 8)
    assert kernel.cost == stack.cost() + 1
    assert kernel.memory((86, 86), (70, 70)) == stack.memory((86, 86), (70, 70)) + 9 * 70 * 70
    assert kernel.bind({}) == kernel

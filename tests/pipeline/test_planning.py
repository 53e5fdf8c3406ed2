"""The block that the plan chooses: within memory, little halo, no worker idle for long."""

from __future__ import annotations

import numpy as np
import pytest

from bigseg import AutoThreshold, Gaussian, Label, Pipeline, Threshold
from bigseg.engine.stage import Plan
from bigseg.errors import MemoryPlanError, PipelineError
from bigseg.grid import Shape
from bigseg.pipeline.steps import Step
from bigseg.storage.spec import Spec
from tests.tiles import Tiles


def planned(shape: Shape, sigma: float, workers: int, memory: int) -> Plan:
    """A threshold, after a Gaussian where sigma is not 0; nothing is read."""
    spec = Spec(shape, np.dtype("uint8"), ("z", "y", "x")[-len(shape) :], (1.0,) * len(shape))
    steps = [Gaussian(sigma=sigma), Threshold(above=100)] if sigma else [Threshold(above=100)]
    return Pipeline([*steps, Label()]).plan(Tiles(spec), workers=workers, memory=memory)


@pytest.mark.parametrize(
    ("shape", "sigma", "workers", "block"),
    [
        ((2048,) * 3, 0.0, 2, (256,) * 3),
        ((2048,) * 3, 4.0, 64, (256,) * 3),
        ((512,) * 3, 2.0, 2, (256,) * 3),
        ((512, 128, 128), 4.5, 2, (128,) * 3),  # of 96 there would be 24, which visit 1.8 times as many voxels
        ((256,) * 3, 1.0, 2, (128,) * 3),  # 192 would cut into as many
        ((128,) * 3, 1.0, 2, (64,) * 3),
        ((40, 40, 40), 1.0, 2, (40,) * 3),  # too little for two
        ((20000, 20000), 1.0, 4, (4096, 4096)),
        ((100, 90), 1.0, 4, (128, 128)),
    ],
)
def test_blocks_have_little_halo_and_leave_no_worker_idle(
    shape: Shape, sigma: float, workers: int, block: Shape
) -> None:
    """With memory enough; a worker has two blocks at least where the volume allows."""
    plan = planned(shape, sigma, workers, 64 << 30)
    assert plan.grid.block == block
    outer = next(stage.outer for stage in plan.stages if stage.kind == "pass")
    assert outer >= 1
    assert (outer > 1) == (sigma > 0 and len(plan.grid) > 1)


def test_the_block_fits_whatever_memory_there_is() -> None:
    """Less memory, smaller blocks, down to the smallest; below it the run is refused."""
    plan = planned((1024,) * 3, 2.0, 2, 4096 << 20)
    sides = [plan.grid.block[0]]
    while sides[-1] > 32:
        memory = plan.memory - 1
        plan = planned((1024,) * 3, 2.0, 2, memory)
        assert plan.memory <= memory
        sides.append(plan.grid.block[0])
    assert sides == sorted(sides, reverse=True)
    assert len(set(sides)) > 4
    with pytest.raises(MemoryPlanError, match="even the smallest block does not fit"):
        planned((1024,) * 3, 2.0, 2, 500 << 20)


@pytest.mark.parametrize("name", ["pass-1", "pyramid-smooth-1"])
def test_no_step_takes_the_name_of_a_stage(name: str) -> None:
    """Journal, scratch and values know stages by their names: a second one is refused, others are as good as any."""
    image = np.random.default_rng(1).integers(0, 255, (300, 260), np.uint8)
    steps = [Step("smooth", Gaussian(sigma=1.0)), Step(name, AutoThreshold(), ("input",))]
    with pytest.raises(PipelineError, match=f"step '{name}' would have the name of another stage"):
        Pipeline(steps, ["smooth"]).plan(image, workers=0, block=(128,))
    steps[1] = Step("pass-9", steps[1].op, ("input",))
    Pipeline(steps, ["smooth"]).plan(image, workers=0, block=(128,))

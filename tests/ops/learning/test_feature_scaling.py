"""The scaling of a volume's features through the engine: that of the whole table, for any blocks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from bigseg.engine.field import Field
from bigseg.engine.source import Held
from bigseg.local.features.scaling import KINDS, Fit, Kind, Scaling, fit_table
from bigseg.local.features.stack import features_of
from bigseg.ops.base import Op, Result, Site
from bigseg.ops.learning.feature_scaling import scaling_of
from bigseg.ops.learning.features import Features
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.steps import Step
from bigseg.storage.spec import Spec
from tests.local.crops import textured, whole


class Scaled(Op):
    """The scaling of some features."""

    op: ClassVar[str] = "scaled"
    oracle: ClassVar[str] = "fit_table"

    kind: Kind
    features: Features
    quantiles: int = 100

    def build(self, inputs: Sequence[Field], site: Site) -> Result:
        """One reduction."""
        return scaling_of(inputs, self.features.stack(inputs[0].spec), self.kind, site.name, self.quantiles)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(14, 19, 23), (33, 41)])
def test_equal_to_the_whole_table(kind: Kind, shape: tuple[int, ...], tmp_path: Path) -> None:
    """In blocks and in one block: exactly `fit_table` of the features of all voxels."""
    x = textured(shape, "uint16")
    spec = Spec(shape, x.dtype, ("z", "y", "x")[-len(shape) :], (1.0,) * len(shape))
    features = Features(intensity=True, gaussian=[0.7, 1.5], laplacian_of_gaussian=0.7, position=10)
    stack = features.stack(spec)
    table = features_of(stack, [x], whole(shape)).reshape(len(stack.names), -1)
    expected = fit_table(kind, table, 12)
    pipeline = Pipeline([Step("result", Scaled(kind=kind, features=features, quantiles=12))])
    for number, block in enumerate(((7,), (100,))):
        run = pipeline.run({"input": Held(x, spec)}, tmp_path / str(number), workers=0, report=False, block=block)
        assert Scaling.from_dict(run.values["result"]["scaling"]) == expected


def test_tables_are_as_large_as_planned() -> None:
    """What a read holds is what the plan is told, or less."""
    planes = np.random.default_rng(0).normal(size=(3, 500)).astype(np.float32)
    for kind in KINDS:
        fit = Fit(kind, 3, 20)
        for read in range(1, fit.reads + 1):
            tables = fit.counting.empty()
            assert sum(table.nbytes for table in tables.values()) <= fit.table_bytes(read)
            fit.counting.add(tables, planes)
            found = fit.after(tables)
            if isinstance(found, Fit):
                assert Fit.from_dict(found.to_dict()) == found
                fit = found

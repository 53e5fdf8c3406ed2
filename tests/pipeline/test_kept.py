"""What a run kept is known again by what it was made of."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bigseg.engine.source import Read
from bigseg.ops.components.volume import below
from bigseg.pipeline.geometry import open_inputs
from bigseg.pipeline.kept import told
from tests.ops.cases import FAMILIES
from tests.ops.test_exactness import image, pipeline, table
from tests.volumes import store


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel with everything that `repr` tells otherwise in another process, or cuts short."""

    find: object
    table: np.ndarray
    names: frozenset[str]


def _add(x: int, y: int) -> int:
    return x + y


def _kernel(place: int = 0, step: int = 1) -> Kernel:
    table = np.zeros(5000, np.int16)
    table[2500] = place
    return Kernel(partial(_add, step), table, frozenset("abcdef"))


def test_kernels_are_told_apart_by_all_that_they_hold() -> None:
    """Equal kernels give equal words; a voxel in the middle of a long table or an argument of a function differs."""
    assert told(_kernel()) == told(_kernel())
    assert len({told(_kernel()), told(_kernel(place=1)), told(_kernel(step=2))}) == 3
    assert told(_kernel().names) == "{" + ", ".join(map(repr, "abcdef")) + "}"


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_no_operation_is_told_by_an_address(family: str, tmp_path: Path) -> None:
    """The words of every node of every row hold no address, which another process would not have."""
    array = image(3, "uint8")
    volume = store(tmp_path / "volume.zarr", array)
    cases = table(family, "uint8")
    graph = pipeline(cases, {name: case.oracle(array) for name, case in cases.items()}, 3)
    built, _ = graph.build(open_inputs(volume), tmp_path)
    words = [told(node.kernel) for node in below(built.results.values()) if not isinstance(node.kernel, Read)]
    assert words
    assert [text for text in words if " at 0x" in text or "<lambda>" in text or "..." in text] == []

"""The short form of R11: a filter, a count, objects and a table take what the plan says, however many blocks."""

from __future__ import annotations

import pytest

from tests.faults.memory_truth import truths


@pytest.mark.parametrize("op", ["gaussian", "auto_threshold", "label", "regions"])
def test_a_worker_takes_what_the_plan_says(op: str) -> None:
    """In every stage peak <= plan; plan <= 1.5 x peak; 16 x / 1 x <= 1.05; less memory than planned is refused."""
    (truth,) = truths([op], sides=(3, 12))
    assert truth.faults() == [], truth.line()

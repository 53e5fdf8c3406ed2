"""On a real Slurm of this machine: requeues, cancelled drivers and workers; skipped where there is none."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.faults import slurm, slurm_runs


@pytest.fixture(scope="module")
def batch() -> Iterator[tuple[slurm.Slurm, slurm_runs.Case]]:
    """A Slurm of one node, and a run for it."""
    if reason := slurm.missing():
        pytest.skip(reason)
    with slurm.started() as found:
        yield found, slurm_runs.case(found.folder / "data", 48)


def test_a_warned_job_requeues_itself_and_ends_golden(batch: tuple[slurm.Slurm, slurm_runs.Case]) -> None:
    """Three warnings before the walltime, three requeues: the fourth start ends golden, nothing was done twice."""
    assert slurm_runs.requeued(*batch, times=3) == 4


def test_cancelled_workers_are_replaced(batch: tuple[slurm.Slurm, slurm_runs.Case]) -> None:
    """Worker jobs that are killed one after the other cost time only."""
    assert slurm_runs.workers(*batch, kills=2) == 2


def test_the_scripts_can_be_run() -> None:
    """Both scripts are executable."""
    for name in ("bigseg.sbatch", "workers.sbatch"):
        assert os.access(slurm_runs.DEPLOY / name, os.X_OK)

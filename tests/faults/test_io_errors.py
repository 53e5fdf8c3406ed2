"""R4 and R5, short: refused calls and full disks are reported, nothing is torn, and the run resumes to golden."""

from __future__ import annotations

import errno
from itertools import product

import pytest

from tests.faults import disk
from tests.faults.io_errors import CALLS, ERRORS, KINDS, Bench


def test_every_call_on_every_kind_of_file(bench: Bench) -> None:
    """Each call refused once for each kind of file, by a different error: reported with path and cause, none torn."""
    faults = [
        (call, kind, ERRORS[place % len(ERRORS)], 1 + place % 3)
        for place, (call, kind) in enumerate(product(CALLS, KINDS))
    ]
    hits, missed, wrong = bench.meet(faults)
    assert wrong == []
    assert hits >= 30, f"never made: {missed}"
    assert {fault[0] for fault in faults if fault not in missed} == set(CALLS)


@pytest.mark.parametrize("error", ERRORS, ids=[errno.errorcode[error] for error in ERRORS])
def test_each_error_from_a_write_and_a_sync(bench: Bench, error: int) -> None:
    """EIO, ENOSPC, EDQUOT and EACCES come back in the system's words."""
    faults = [("write", "journal", error, 2), ("fsync", "shard", error, 2), ("rename", "part", error, 2)]
    hits, missed, wrong = bench.meet(faults)
    assert wrong == []
    assert hits == len(faults), missed


@pytest.mark.parametrize("size", [300, 2000])
def test_a_file_that_may_not_grow(bench: Bench, size: int) -> None:
    """The system's limit of a file's size, which TensorStore meets too, is a clear error, and the run resumes."""
    assert "File too large" in bench.limited(size)


def test_a_disk_fills_up() -> None:
    """With room for a part of the run, it fails with path and bytes, leaves no torn shard, and resumes."""
    count, failed, _ = disk.at_sizes([0.05, 0.3, 0.6])
    assert failed >= 2
    assert count == 3

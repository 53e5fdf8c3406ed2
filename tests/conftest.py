"""What all tests share: the data folder, samples, and one Dask cluster for the session."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
settings.register_profile(
    "bigseg",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("bigseg")

LONGEST_FIRST = (
    "tests/faults/test_slurm.py",
    "tests/faults/test_workers.py",
    "tests/faults/test_resume.py",
    "tests/faults/test_driver_memory.py",
    "notebooks/",
    "tests/recipes/",
    "tests/benchmarks/",
    "tests/faults/",
)
"""Files whose tests take 10 to 70 s, much of it waiting: begun last they would leave one of two workers idle at the
end. What follows them are thousands of short tests, which the worker that is done first takes from the other."""


def pytest_configure(config: pytest.Config) -> None:
    """Temporary files in memory where there is room: thousands of fsyncs take minutes on a busy disk.

    The processes of an idle cluster look at their event loops and at the system once a second or five instead of 50
    times and twice: all together they then use 2.5 % of a core instead of 7 %, of two cores that are busy anyway.
    """
    os.environ.setdefault("DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL", "1s")
    os.environ.setdefault("DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL", "5s")
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 4 << 30:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))
        os.environ.setdefault("TMPDIR", str(memory))
        tempfile.tempdir = None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests first; within a file, and among the others, the order stays."""
    rank = {prefix: place for place, prefix in enumerate(LONGEST_FIRST)}

    def place(item: pytest.Item) -> int:
        return min((number for prefix, number in rank.items() if item.nodeid.startswith(prefix)), default=len(rank))

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """What was imported and collected is not searched for garbage again: an eighth of the time in which Numba compiles
    went into 1,400 searches through half a million objects, 18 searches take a thirtieth."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real images; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("BIGSEG_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}: set BIGSEG_DATA")
    return folder


@pytest.fixture(scope="session")
def cluster() -> Iterator[object]:
    """Two workers on this machine; tests that ask for it run on it as the current client."""
    from bigseg.engine.cluster.starting import local_cluster

    executor = local_cluster(2, 2 << 30)
    yield executor
    executor.close()


@pytest.fixture
def blobs() -> np.ndarray:
    """A small uint8 volume with dark blobs of all sizes, some of which cross every block."""
    from scipy import ndimage

    noise = np.random.default_rng(7).standard_normal((40, 47, 51))
    smooth = ndimage.gaussian_filter(noise, 2.5)
    return np.asarray(128 + 40 * smooth / smooth.std()).clip(0, 255).astype(np.uint8)

"""What all tests share: the data folder, samples, and one Dask cluster for the session."""

from __future__ import annotations

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


def pytest_configure(config: pytest.Config) -> None:
    """Temporary files in memory where there is room: thousands of fsyncs take minutes on a busy disk."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 4 << 30:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))
        os.environ.setdefault("TMPDIR", str(memory))
        tempfile.tempdir = None


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
    from bigseg.engine.cluster import local_cluster

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

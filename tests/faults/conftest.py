"""What the short forms share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.faults.driver import fast_folder
from tests.faults.io_errors import Bench


@pytest.fixture(scope="package")
def bench() -> Iterator[Bench]:
    """A volume and what its run must end with."""
    folder = fast_folder()
    try:
        yield Bench(folder)
    finally:
        shutil.rmtree(folder)

"""A small volume, a small pipeline, and the command line run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigseg.cli.main import run
from tests.volumes import store

PIPELINE = """
version: 1
steps:
  - {id: smooth,  op: gaussian, sigma: 1.0}
  - {id: levels,  op: auto_threshold, from: smooth, method: otsu}
  - {id: dark,    op: hysteresis, from: smooth, low: 90, high: "${levels.otsu}", polarity: below}
  - {id: objects, op: label}
  - {id: regions, op: regions, intensity: input}
save: [dark, objects]
"""


@dataclass(frozen=True)
class Answer:
    """What a command line left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be one JSON document and nothing else."""
        return json.loads(self.out)


Bigseg = Callable[..., Answer]


@pytest.fixture
def bigseg(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bigseg:
    """Runs a command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> Answer:
        capsys.readouterr()
        code = run([str(item) for item in arguments])
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return call


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """Gaussian, threshold from the data, hysteresis, labels, table."""
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE)
    return path


@pytest.fixture(scope="session")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Zarr with dark blobs."""
    from scipy import ndimage

    noise = ndimage.gaussian_filter(np.random.default_rng(7).standard_normal((20, 30, 40)), 2)
    array = (128 + 40 * noise / noise.std()).clip(0, 255).astype(np.uint8)
    return store(tmp_path_factory.mktemp("volumes") / "small.zarr", array)

"""`bigseg threshold`: values and shares of every method, failures in their rows, a picture."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image
from skimage import filters

from bigseg.cli import running
from bigseg.engine.cluster.executor import DaskExecutor
from bigseg.ops.levels import ALL
from tests.cli.conftest import Bigseg
from tests.volumes import store


@pytest.fixture
def two_phases(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A volume of two phases, in which every method finds a threshold."""
    rng = np.random.default_rng(5)
    array = np.where(rng.random((12, 30, 40)) < 0.4, rng.normal(60, 9, (12, 30, 40)), rng.normal(170, 12, (12, 30, 40)))
    array = array.clip(0, 255).astype(np.uint8)
    return store(tmp_path / "two.zarr", array), array


def test_all_methods_in_a_table(bigseg: Bigseg, two_phases: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    """Every method has its row with value and share of voxels above; nothing is left behind."""
    path, array = two_phases
    before = sorted(item.name for item in tmp_path.iterdir())
    answer = bigseg("threshold", path, "--workers", 0)
    assert answer.code == 0, answer.err
    rows = {line.split()[0]: line.split()[1:] for line in answer.out.splitlines()[1:] if not line.startswith(" ")}
    assert list(rows) == list(ALL)
    otsu = filters.threshold_otsu(array)
    assert float(rows["otsu"][0]) == otsu
    assert float(rows["otsu"][1]) == pytest.approx(100 * np.mean(array > otsu), abs=0.06)
    assert len([line for line in answer.out.splitlines() if line.startswith(" ")]) == 1  # the second of multi_otsu
    assert sorted(item.name for item in tmp_path.iterdir()) == before


def test_the_document_is_exact(bigseg: Bigseg, two_phases: tuple[Path, np.ndarray]) -> None:
    """--json gives each method's thresholds and the exact shares above them."""
    path, array = two_phases
    found = bigseg("threshold", path, "--method", "otsu,li,multi_otsu", "--classes", 4, "--json").json
    methods = {item["method"]: item for item in found["methods"]}
    assert list(methods) == ["otsu", "li", "multi_otsu"]
    assert methods["li"]["values"] == [filters.threshold_li(array)]
    assert len(methods["multi_otsu"]["values"]) == 3
    for item in methods.values():
        assert item["above"] == [np.mean(array > value) for value in item["values"]]


def test_a_picture_of_one_plane(bigseg: Bigseg, two_phases: tuple[Path, np.ndarray]) -> None:
    """--picture writes a PNG of the plane asked for."""
    path, _ = two_phases
    answer = bigseg("threshold", path, "--method", "otsu,triangle", "--picture", "look.png", "--z", 3)
    assert answer.code == 0, answer.err
    assert "look.png: z = 3 of 12" in answer.out
    assert min(Image.open("look.png").size) > 300
    document = bigseg("threshold", path, "--method", "otsu", "--picture", "look.png", "--json").json
    assert document["plane"] == "z = 6 of 12"


def test_what_fails_says_so_in_its_row(bigseg: Bigseg) -> None:
    """A method that finds nothing explains itself in its row, and the others go on."""
    ramp = np.repeat(np.arange(7, dtype=np.uint8), [1, 4, 9, 12, 8, 3, 3]).reshape(5, 8)
    np.save("ramp.npy", ramp)
    answer = bigseg("threshold", "ramp.npy", "--method", "otsu,minimum,intermodes")
    assert answer.code == 0, answer.err
    lines = {line.split()[0]: line for line in answer.out.splitlines()}
    assert "minimum found one maximum in the histogram, not two; take another method" in lines["minimum"]
    assert "no two modes" in lines["intermodes"]
    assert lines["otsu"].split()[1] == str(filters.threshold_otsu(ramp))
    failed = bigseg("threshold", "ramp.npy", "--method", "minimum", "--json").json["methods"][0]
    assert sorted(failed) == ["failed", "method"]


def test_a_constant_image_fails_in_every_row(bigseg: Bigseg) -> None:
    """An image of one value has no threshold; a picture of none is refused."""
    np.save("flat.npy", np.full((20, 20), 7, np.uint8))
    answer = bigseg("threshold", "flat.npy", "--method", "otsu,mean")
    assert answer.code == 0, answer.err
    assert answer.out.count("needs at least 2 different values") == 2
    answer = bigseg("threshold", "flat.npy", "--picture", "look.png")
    assert answer.code == 3
    assert "no picture to draw" in answer.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--method", "ostu"), 2, "did you mean 'otsu'"),
        (("--method", ","), 2, "expected all"),
        (("--picture", "nowhere/look.png"), 6, "no folder"),
        (("--picture", "."), 6, "it is a folder"),
        (("--picture", "look.png", "--z", 99), 2, "expected a plane from 0 to 11"),
        (("--z", 3), 2, "give --picture too"),
    ],
)
def test_wrong_usage(
    bigseg: Bigseg,
    two_phases: tuple[Path, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[object, ...],
    code: int,
    message: str,
) -> None:
    """Unknown methods, planes and folders are refused with what to do, before a voxel is read."""
    monkeypatch.setattr(running, "run_prepared", None)
    answer = bigseg("threshold", two_phases[0], *arguments)
    assert answer.code == code
    assert message in answer.err
    assert "Traceback" not in answer.err


def test_progress_for_machines(bigseg: Bigseg, two_phases: tuple[Path, np.ndarray]) -> None:
    """With --json the progress is lines of JSON on standard error, in a log without it there is none."""
    answer = bigseg("threshold", two_phases[0], "--method", "otsu", "--json")
    assert {"stage", "done", "blocks"} <= json.loads(answer.err.splitlines()[-1]).keys()
    assert bigseg("threshold", two_phases[0], "--method", "otsu").err == ""


def test_a_cluster_finds_the_scratch(
    bigseg: Bigseg, two_phases: tuple[Path, np.ndarray], cluster: DaskExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Partial results of a cluster's workers lie below the current folder, not in this machine's /tmp, and go."""
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    before = sorted(Path.cwd().iterdir())
    address = cluster.client.scheduler.address
    found = bigseg("threshold", two_phases[0], "--method", "otsu", "--scheduler", address, "--json").json
    assert found["methods"][0]["values"] == [filters.threshold_otsu(two_phases[1])]
    assert sorted(Path.cwd().iterdir()) == before


def test_real_values(bigseg: Bigseg, tmp_path: Path) -> None:
    """Thresholds and shares of a float volume are those of the whole array, to the bins they come from."""
    rng = np.random.default_rng(8)
    array = rng.normal(0, 1, (10, 20, 30)).astype(np.float32)
    array[:4] += 9
    stored = store(tmp_path / "real.zarr", array)
    assert zarr.open_array(str(stored), mode="r").dtype == np.float32
    methods = bigseg("threshold", stored, "--method", "otsu,mean,li", "--json").json["methods"]
    values = {item["method"]: item["values"][0] for item in methods}
    assert values["otsu"] == pytest.approx(filters.threshold_otsu(array))
    assert values["mean"] == pytest.approx(array.mean(dtype=np.float64), abs=1e-7)
    assert values["li"] == pytest.approx(filters.threshold_li(array.astype(np.float64)), abs=1e-5)
    for item in methods:
        assert item["above"][0] == pytest.approx(np.mean(array > item["values"][0]), abs=2 / array.size)

"""`bigseg evaluate`: figures, tables and refusals of a result against the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from sklearn import metrics

from bigseg.storage.lazy import open_volume
from tests.cli.conftest import Bigseg
from tests.volumes import store

RNG = np.random.default_rng(0)
TRUE = ndimage.gaussian_filter(RNG.standard_normal((9, 20, 30)), 2) > 0
SCORE = np.clip(0.5 + 0.3 * (TRUE - 0.5) + 0.2 * RNG.standard_normal(TRUE.shape), 0, 1).astype(np.float32)


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    arrays = {
        "truth": TRUE.astype(np.uint8),
        "mask": (SCORE > 0.5).astype(np.uint8),
        "score": SCORE,
        "grains": ndimage.label(TRUE)[0].astype(np.uint16),
        "half": np.broadcast_to(np.arange(30) < 15, TRUE.shape).astype(np.uint8),
    }
    return {name: store(tmp_path / f"{name}.zarr", array) for name, array in arrays.items()}


def test_masks_as_a_table(bigseg: Bigseg, paths: dict[str, Path], tmp_path: Path) -> None:
    """Figures stand in rows, the confusion below; nothing is left behind."""
    before = sorted(item.name for item in tmp_path.iterdir())
    answer = bigseg("evaluate", paths["mask"], paths["truth"], "--workers", 0)
    assert answer.code == 0, answer.err
    lines = [line.rsplit(maxsplit=1) for line in answer.out.splitlines() if line.strip()]
    shown = {line[0].strip(): line[1] for line in lines if len(line) == 2}
    assert float(shown["dice"]) == pytest.approx(metrics.f1_score(TRUE.ravel(), SCORE.ravel() > 0.5), abs=1e-4)
    assert "as 0" in answer.out
    assert sorted(item.name for item in tmp_path.iterdir()) == before


def test_scores_as_json_with_their_curve(bigseg: Bigseg, paths: dict[str, Path], tmp_path: Path) -> None:
    """--json gives every figure, --table the curve; a stored range of 0 to 1 is that of probabilities."""
    curve = tmp_path / "curve.csv"
    command = ("evaluate", paths["score"], paths["truth"], "--kind", "scores", "--json", "--table", curve)
    found = bigseg(*command).json["figures"]
    assert found["threshold"] == 0.5
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(TRUE.ravel(), SCORE.ravel()), abs=1e-5)
    assert found["mse"] == pytest.approx(metrics.mean_squared_error(TRUE.ravel(), SCORE.ravel()))
    table = pd.read_csv(curve)
    assert table["tp"].iloc[-1] == TRUE.sum()
    assert table["dice"].max() == pytest.approx(found["best_dice"])


def test_a_mask_and_a_region(bigseg: Bigseg, paths: dict[str, Path]) -> None:
    """--mask and --roi leave voxels out."""
    masked = bigseg("evaluate", paths["mask"], paths["truth"], "--mask", paths["half"], "--json").json["figures"]
    region = bigseg("evaluate", paths["mask"], paths["truth"], "--roi", ":,:,0:15", "--json").json["figures"]
    assert masked == region
    assert masked["voxels"] == TRUE[..., :15].size


def test_objects(bigseg: Bigseg, paths: dict[str, Path], tmp_path: Path) -> None:
    """Labels against labels: the table of overlaps is printed and written."""
    table = tmp_path / "overlaps.parquet"
    answer = bigseg("evaluate", paths["grains"], paths["grains"], "--kind", "objects", "--table", table)
    assert answer.code == 0, answer.err
    assert pd.read_parquet(table)["ap"].tolist() == [1.0] * 10
    assert "panoptic quality" in answer.out


def test_refusals(bigseg: Bigseg, paths: dict[str, Path], tmp_path: Path) -> None:
    """Unknown kinds, other shapes, floats as classes and tables without a home are refused before anything is read."""
    small = store(tmp_path / "small.zarr", np.zeros((9, 20, 29), np.uint8))
    for arguments, code, why in (
        ((paths["mask"], paths["truth"], "--kind", "grades"), 2, "kind"),
        ((paths["mask"], small), 2, "shape"),
        ((paths["score"], paths["truth"], "--kind", "classes"), 2, "holds floats"),
        ((paths["mask"], paths["truth"], "--table", tmp_path / "no" / "t.csv"), 6, "no folder"),
        ((paths["mask"], paths["truth"], "--table", tmp_path / "t.txt"), 2, "ends in .csv or .parquet"),
        ((paths["mask"], tmp_path / "none.zarr"), 3, "none.zarr"),
    ):
        answer = bigseg("evaluate", *arguments)
        assert (answer.code, why in answer.err) == (code, True), answer.err


def test_the_threshold_is_chosen_where_nothing_is_tested(
    bigseg: Bigseg, paths: dict[str, Path], tmp_path: Path
) -> None:
    """--validation chooses the threshold, --test gives the figures at it, and the answer says which is which."""
    command = ("evaluate", paths["score"], paths["truth"], "--kind", "scores")
    regions = ("--validation", ":,:,0:12", "--test", ":,:,12:")
    found = bigseg(*command, *regions, "--json", "--picture", "p.png").json
    chosen = bigseg(*command, "--roi", ":,:,0:12", "--json").json["figures"]["best_threshold"]
    assert found["validation"]["region"] == ":,:,0:12"
    assert found["region"] == ":,:,12:"
    assert found["figures"]["threshold"] == chosen
    assert "best_threshold" not in found["figures"]
    mask = SCORE[..., 12:] > np.float32(chosen)
    assert found["figures"]["dice"] == pytest.approx(metrics.f1_score(TRUE[..., 12:].ravel(), mask.ravel()))
    assert (tmp_path / "p.png").read_bytes()[1:4] == b"PNG"
    answer = bigseg(*command, *regions)
    assert answer.out.startswith("on the region :,:,12:; threshold chosen in :,:,0:12")
    for arguments, why in (
        ((*command, "--validation", ":,:,0:12"), "give that region"),
        ((*command, "--validation", ":,:,0:12", "--test", ":,:,11:"), "share voxels"),
        ((*command, "--test", ":,:,11:", "--roi", ":,:,11:"), "both name a region"),
        (("evaluate", paths["mask"], paths["truth"], "--kind", "classes", *regions), "holds no scores"),
    ):
        answer = bigseg(*arguments)
        assert (answer.code, why in answer.err) == (2, True), answer.err


def test_pictures_of_classes(bigseg: Bigseg, paths: dict[str, Path], tmp_path: Path) -> None:
    """--picture draws the confusion of masks; objects have nothing to draw."""
    assert bigseg("evaluate", paths["mask"], paths["truth"], "--picture", "c.png").code == 0
    assert (tmp_path / "c.png").read_bytes()[1:4] == b"PNG"
    answer = bigseg("evaluate", paths["grains"], paths["grains"], "--kind", "objects", "--picture", "o.png")
    assert (answer.code, "no curve" in answer.err) == (2, True), answer.err


def test_where_it_is_wrong(bigseg: Bigseg, paths: dict[str, Path], tmp_path: Path) -> None:
    """--errors writes the voxels that the confusion counts, for masks, scores in a region and objects."""
    (tn, fp), (fn, tp) = metrics.confusion_matrix(TRUE.ravel(), SCORE.ravel() > 0.5)
    for name, kind in (("mask", "auto"), ("score", "scores")):
        out = tmp_path / f"{name}-errors.ome.zarr"
        answer = bigseg("evaluate", paths[name], paths["truth"], "--kind", kind, "--errors", out)
        assert answer.code == 0, answer.err
        assert np.bincount(np.asarray(open_volume(out)).ravel()).tolist() == ([0, tn, tp, fp, fn])
    regions = ("--validation", ":,:,0:12", "--test", ":,:,12:", "--errors", "test.ome.zarr")
    assert bigseg("evaluate", paths["score"], paths["truth"], "--kind", "scores", *regions).code == 0
    assert open_volume(tmp_path / "test.ome.zarr").shape == (9, 20, 18)
    grains = ("evaluate", paths["grains"], paths["grains"], "--kind", "objects", "--errors", "objects.ome.zarr")
    assert bigseg(*grains).code == 0
    assert set(np.unique(np.asarray(open_volume(tmp_path / "objects.ome.zarr")))) == {1, 2}
    for arguments, why in ((grains, "exists"), ((*grains[:3], "--kind", "values", "--errors", "v.zarr"), "neither")):
        answer = bigseg(*arguments)
        assert (answer.code, why in answer.err) == (2, True), answer.err

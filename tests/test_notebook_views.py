"""What notebooks show of plans, models, figures and reports."""

from __future__ import annotations

import io
from functools import cache
from html import unescape
from pathlib import Path

import numpy as np
from PIL import Image

import bigseg


@cache
def image() -> np.ndarray:
    """Smooth noise; kernels are not compiled while tests are collected."""
    return bigseg.gaussian(np.random.default_rng(0).random((40, 60), np.float32), sigma=1.5)


def test_a_plan_is_a_table(blobs: np.ndarray) -> None:
    """A row a stage, sizes in MiB; above it the blocks and the memory of the worst stage."""
    plan = bigseg.Pipeline([bigseg.Gaussian(sigma=1.0), bigseg.Threshold(below=100)]).plan(blobs, block=(20, 20, 20))
    table = plan.table()
    assert list(table.index) == [stage.name for stage in plan.stages]
    assert table["memory"].max() * 2**20 == plan.memory
    shown = plan._repr_html_()
    assert "40 x 47 x 51 in 18 blocks of 20 x 20 x 20" in shown
    assert "pass-1" in shown
    assert f"{plan.memory / 2**20:.0f} MiB" in shown


def test_a_report_is_shown_in_a_frame(blobs: np.ndarray, tmp_path: Path) -> None:
    """The whole page goes into the frame, quoted, and may run nothing."""
    run = bigseg.Pipeline([bigseg.Threshold(below=100), bigseg.Label()]).run(blobs, tmp_path / "run")
    shown = run.show_report(height=321)._repr_html_()
    start = shown.index('srcdoc="') + len('srcdoc="')
    assert unescape(shown[start : shown.index('"', start)]) == run.report.read_text()
    assert 'height="321"' in shown
    assert " sandbox " in shown


def test_a_model_knows_its_figures(tmp_path: Path) -> None:
    """Figures and threshold come with the model and its file, a row a region; its repr is one line."""
    regions = {"train": ":,0:30", "validation": ":,30:40", "test": ":,40:"}
    labels = (image() > 0.5) + np.uint8(1)
    chosen = {"features": {"gaussian": [1, 3]}, "classes": {1: "low", 2: "high"}, "regions": regions}
    model = bigseg.train(image(), labels, **chosen, parameters={"n_estimators": 5}, out=tmp_path / "model.npz")
    summary = model.summary()
    assert list(summary.index) == ["train", "validation", "test"]
    assert summary.loc["validation", "best_threshold"] == model.threshold == model.figures["test"]["threshold"]
    assert summary.loc["test", "voxels"] == 40 * 20
    assert 0.8 < summary.loc["test", "dice"] <= 1
    loaded = bigseg.load_model(tmp_path / "model.npz")
    assert (loaded.figures, loaded.threshold) == (model.figures, model.threshold)
    assert repr(loaded).startswith("<RandomForestClassifier of 2 features; classes 1 low, 2 high; threshold 0.")


def test_figures_have_their_table_and_picture() -> None:
    """evaluate gives a dict, beside it the curve, and for notebooks a picture where there is something to draw."""
    found = bigseg.evaluate(image(), truth=image() > 0.5)
    assert isinstance(found, dict)
    assert found["auc"] == 1.0
    assert {"threshold", "fall_out", "recall", "precision"} <= set(found.table.columns)
    shown = found._repr_png_()
    assert shown is not None
    assert Image.open(io.BytesIO(shown)).size[0] > 1000
    assert bigseg.evaluate(image(), truth=image(), kind="values")._repr_png_() is None

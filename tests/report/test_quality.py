"""Evaluate steps in the report: figures, confusion, curves, and which data they are of."""

from __future__ import annotations

import io
from inspect import signature
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage
from sklearn import metrics

from bigseg.local.models.curves import Scale, count_scores, curve_of
from bigseg.ops.error_map import ErrorMap
from bigseg.ops.evaluate import Evaluate
from bigseg.ops.objects import Label
from bigseg.ops.registry import OPS
from bigseg.ops.threshold import Threshold
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.steps import Step
from bigseg.report.curve_chart import POINTS, _thinned, curve_chart
from bigseg.report.quality import quality_of
from bigseg.report.thresholds import NO_VOLUME, sources_of
from tests.volumes import store

RNG = np.random.default_rng(0)
TRUE = ndimage.gaussian_filter(RNG.standard_normal((40, 50)), 2) > 0
SCORE = (255 * np.clip(0.5 + 0.3 * (TRUE - 0.5) + 0.2 * RNG.standard_normal(TRUE.shape), 0, 1)).astype(np.uint8)


def test_a_run_with_every_kind(tmp_path: Path) -> None:
    """Each step has its figures; scores their curves, classes their confusion, objects their table."""
    inputs = {"score": SCORE, "truth": TRUE.astype(np.uint8), "left": (np.arange(50) < 25) * np.ones((40, 1), np.uint8)}
    paths = {name: store(tmp_path / f"{name}.zarr", array) for name, array in inputs.items()}
    steps = [
        Step("mask", Threshold(above=127), ("score",)),
        Step("true", Threshold(above=0), ("truth",)),
        Step("classes", Evaluate(truth="true"), ("mask",), "left"),
        Step("scores", Evaluate(truth="true"), ("score",)),
        Step("found", Label(), ("mask",)),
        Step("grains", Label(), ("true",)),
        Step("objects", Evaluate(truth="grains"), ("found",)),
    ]
    run = Pipeline(steps, ["mask"]).run(paths, tmp_path / "run", block=(16, 16), workers=0, report=True)
    classes, scores, objects = quality_of(run.path, run.record)
    assert (classes.source, classes.truth, classes.mask) == ("mask", "true", "left")
    part = metrics.confusion_matrix(TRUE[:, :25].ravel(), SCORE[:, :25].ravel() > 127)
    assert [[cell.text for cell in line] for line in classes.confusion] == part.astype(str).tolist()
    assert sum(cell.share for cell in classes.confusion[0]) == pytest.approx(100)
    assert scores.chart is not None
    assert not scores.rows
    assert "ROC area" in {name for name, _, _ in scores.facts}
    assert len(objects.rows) == 10
    page = run.report.read_text()
    assert "could not be made" not in page
    for text in ("Against the truth", "mask against true, where left is", "ROC and precision-recall"):
        assert text.lower() in page.lower()


def test_steps_that_give_figures_are_no_source() -> None:
    """A step after evaluate reads what came before it, as in the pipeline."""
    steps = [{"id": "a", "op": "threshold"}, {"id": "q", "op": "evaluate"}, {"id": "b", "op": "label"}]
    assert sources_of(steps, ["scan"]) == {"a": "scan", "q": "a", "b": "a"}


def test_the_operations_that_give_no_volume() -> None:
    """The report's list of them is that of the operations themselves."""
    no_volume = {name for name, kind in OPS.items() if signature(kind.build).return_annotation == "Reduction"}
    assert set(NO_VOLUME) == no_volume
    assert len(no_volume) > 10


def test_a_chart_for_light_and_dark_pages() -> None:
    """Both pictures, with the figures in words."""
    scale = Scale.of(SCORE.dtype, 0, 0)
    curve = curve_of(count_scores(SCORE, TRUE, scale, 127)[0], scale)
    names = ("threshold", "above", "tp", "fp", "fall_out", "recall", "precision", "dice")
    table = pd.DataFrame({name: getattr(curve, name) for name in names})
    chart = curve_chart(table, curve.areas()[0], None, "score")
    assert "mean precision not defined" in chart.words
    assert f"{curve.areas()[0]:.4f}" in chart.words
    light, dark = (np.asarray(Image.open(io.BytesIO(png))) for png in (chart.light, chart.dark))
    assert light.shape == dark.shape
    assert (light != dark).any()


def test_long_curves_are_thinned() -> None:
    """Of a curve of many thresholds at most a thousand points are drawn, both ends among them."""
    share = np.linspace(0, 1, 50_000)
    curve = pd.DataFrame({"fall_out": share**3, "recall": share, "precision": 1 - share / 2})
    thin = _thinned(curve)
    assert len(thin) <= POINTS
    assert thin.index[0] == 0
    assert thin.index[-1] == len(curve) - 1
    assert np.diff(thin["recall"]).max() < 0.01


def test_which_data_figures_are_of(tmp_path: Path) -> None:
    """Each step says its voxels and where its threshold comes from; tests show no better threshold of their own."""
    left = (np.arange(50) < 25) * np.ones((40, 1), np.uint8)
    inputs = {"score": SCORE, "truth": TRUE.astype(np.uint8), "left": left, "right": 1 - left}
    paths = {name: store(tmp_path / f"{name}.zarr", array) for name, array in inputs.items()}
    best = "${valid.best_threshold}"
    steps = [
        Step("true", Threshold(above=0), ("truth",)),
        Step("valid", Evaluate(truth="true", kind="scores"), ("score",), "left"),
        Step("test", Evaluate(truth="true", kind="scores", threshold=best), ("score",), "right"),
        Step("same", Evaluate(truth="true", kind="scores", threshold=best), ("score",), "left"),
        Step("all", Evaluate(truth="true", kind="scores", threshold=best), ("score",)),
        Step("wrong", ErrorMap(truth="true", threshold=best), ("score",), "right"),
    ]
    run = Pipeline(steps, ["wrong"]).run(paths, tmp_path / "run", block=(16, 16), workers=0, report=True)
    valid, test, same, every = quality_of(run.path, run.record)
    said = "of the 1,000 voxels where left is; threshold 127.5, the middle of the range: nothing was chosen here"
    assert valid.data == said
    assert test.data.startswith("of the 1,000 voxels where right is; threshold ")
    assert test.data.endswith(", the best of valid where left is")
    assert same.data.endswith(" - the same voxels: figures at a threshold that was chosen on them are no test")
    assert " - some of them the same voxels: figures at a threshold" in every.data
    shown = [{name for name, _ in item.figures} for item in (valid, test)]
    assert [("best threshold" in names) for names in shown] == [True, False]
    assert test.chart is not None
    assert "best" not in test.chart.words
    page = run.report.read_text()
    assert page.count("false positive") == 2  # the map alone, and on the image
    assert "could not be made" not in page

"""Figures against a truth: what is compared, masks and regions, refusals."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from sklearn import metrics

import bigseg
from bigseg.errors import BigsegError, ParameterError, PipelineError, ValuesError
from bigseg.ops.error_map import ErrorMap
from bigseg.ops.evaluate import Evaluate
from bigseg.ops.threshold import Threshold
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.steps import Step
from bigseg.storage.volume import Volume
from tests.volumes import store

RNG = np.random.default_rng(0)
TRUE = ndimage.gaussian_filter(RNG.standard_normal((24, 31)), 2) > 0
SCORE = np.clip(0.5 + 0.2 * (TRUE - 0.5) + 0.2 * RNG.standard_normal(TRUE.shape), 0, 1).astype(np.float32)


def stored(folder: Path, **arrays: np.ndarray) -> dict[str, Path]:
    return {name: store(folder / f"{name}.zarr", array) for name, array in arrays.items()}


def test_floats_are_scores_and_a_mask_is_their_truth() -> None:
    """Real scores of any range against a mask: the area lies within the stated error of scikit-learn's."""
    found = bigseg.evaluate(100 * SCORE - 7, truth=TRUE, threshold=40)
    area = metrics.roc_auc_score(TRUE.ravel(), SCORE.ravel())
    assert abs(found["auc"] - area) <= found["auc_error"] + 1e-12
    assert found["auc_error"] < 1e-4
    assert found["accuracy"] == pytest.approx(np.mean((100 * SCORE - 7 > 40) == TRUE))
    assert "mse" not in found


def test_the_curve_is_the_table(tmp_path: Path) -> None:
    """A row a threshold that parts the voxels, from the highest down, as sklearn.metrics.roc_curve."""
    paths = stored(tmp_path, score=(SCORE * 255).astype(np.uint8), truth=TRUE.astype(np.uint8))
    steps = [Step("quality", Evaluate(truth="truth", kind="scores"), ("score",))]
    run = Pipeline(steps).run(paths, tmp_path / "run", block=(8, 16), workers=0, report=False)
    table = run.tables["quality"]
    fpr, tpr, thresholds = metrics.roc_curve(
        TRUE.ravel(), (SCORE * 255).astype(np.uint8).ravel(), drop_intermediate=False
    )
    np.testing.assert_array_equal(table["threshold"], thresholds[1:])
    np.testing.assert_allclose(table["fall_out"], fpr[1:], rtol=1e-12)
    np.testing.assert_allclose(table["recall"], tpr[1:], rtol=1e-12)
    assert run.values["quality"]["threshold"] == 127.5


def test_figures_masks_and_maps_agree_at_a_threshold() -> None:
    """A score that equals the threshold as a float32 is above it for nothing: figures, mask and error map say so."""
    score, true = np.float32([[0.1, 0.9, 0.1, 0.05]]), np.array([[1, 1, 0, 0]], bool)
    assert bigseg.evaluate(score, truth=true, threshold=0.1)["confusion"] == [[2, 0], [1, 1]]
    assert bigseg.threshold(score, above=0.1).tolist() == [[False, True, False, False]]
    assert bigseg.error_map(score, true, threshold=0.1).tolist() == [[4, 2, 1, 1]]


def test_a_threshold_of_an_earlier_step(tmp_path: Path) -> None:
    """The best threshold of validation data is used on test data by reference."""
    left = np.broadcast_to(np.arange(31) < 15, TRUE.shape)
    paths = stored(tmp_path, score=(SCORE * 255).astype(np.uint8), truth=TRUE.astype(np.uint8), left=left.astype("u1"))
    steps = [
        Step("valid", Evaluate(truth="truth", kind="scores"), ("score",), "left"),
        Step("test", Evaluate(truth="truth", kind="scores", threshold="${valid.best_threshold}"), ("score",)),
    ]
    run = Pipeline(steps).run(paths, tmp_path / "run", block=(9, 9), workers=0, report=False)
    best = run.values["valid"]["best_threshold"]
    assert run.values["test"]["threshold"] == best
    assert run.values["valid"]["best_dice"] == max(
        metrics.f1_score(TRUE[:, :15].ravel(), (SCORE * 255).astype(np.uint8)[:, :15].ravel() > t) for t in range(256)
    )
    assert run.values["test"]["accuracy"] == np.mean(((SCORE * 255).astype(np.uint8) > best) == TRUE)


@pytest.mark.parametrize("block", [(7, 5), (24, 31), (1, 31)])
def test_a_mask_leaves_voxels_out(block: tuple[int, int], tmp_path: Path) -> None:
    """Under a mask only its voxels are compared, for every kind and any block."""
    inside = np.zeros(TRUE.shape, np.uint8)
    inside[3:17, 4:29] = 1
    found = (SCORE > 0.55).astype(np.uint8)
    labels, true = (ndimage.label(part)[0].astype(np.uint16) for part in (found, TRUE))
    paths = stored(tmp_path, found=found, truth=TRUE.astype(np.uint8), labels=labels, grains=true, inside=inside)
    steps = [
        Step("classes", Evaluate(truth="truth"), ("found",), "inside"),
        Step("scores", Evaluate(truth="truth", kind="scores", threshold=0), ("found",), "inside"),
        Step("objects", Evaluate(truth="grains", kind="objects"), ("labels",), "inside"),
        Step("values", Evaluate(truth="truth", kind="values"), ("found",), "inside"),
    ]
    run = Pipeline(steps).run(paths, tmp_path / "run", block=block, workers=0, report=False)
    part = (slice(3, 17), slice(4, 29))
    one, two = TRUE[part].ravel(), found[part].ravel()
    assert run.values["classes"]["confusion"] == metrics.confusion_matrix(one, two).tolist()
    assert run.values["scores"]["confusion"] == run.values["classes"]["confusion"]
    assert run.values["values"]["mae"] == np.mean(one != two)
    wanted = bigseg.evaluate(labels[part], truth=true[part], kind="objects")
    assert run.values["objects"] == wanted


def test_a_mask_is_compared_with_what_is_not_zero() -> None:
    """A truth of 0 and 255 is one class against a mask, two classes beside 0 against numbers."""
    found = SCORE > 0.5
    painted = (255 * TRUE).astype(np.uint8)
    assert bigseg.evaluate(found, truth=painted)["dice"] == bigseg.evaluate(found, truth=TRUE)["dice"]
    assert bigseg.evaluate(found.astype(np.uint8), truth=painted)["classes"] == [0, 1, 255]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32"])
@pytest.mark.parametrize("kind", ["auto", "scores"])
def test_a_mask_of_numbers_is_no_score_of_0_to_255(kind: str, dtype: str) -> None:
    """Where 0 and 1 alone occur, 1 is yes, and an error is a whole one; a threshold that is given stays."""
    found = SCORE > 0.55
    wanted = bigseg.evaluate(found, truth=TRUE)
    values = bigseg.evaluate(found.astype(dtype), truth=TRUE, kind=kind)
    assert values["threshold"] == 0.5
    assert values["confusion"] == wanted["confusion"]
    assert values["dice"] == wanted["dice"] > 0
    assert values["mse"] == values["mae"] == pytest.approx(wanted["mae"])
    assert bigseg.evaluate(found.astype(dtype), truth=TRUE, threshold=1)["recall"] == 0
    grey = bigseg.evaluate((found * 2).astype("uint8"), truth=TRUE)
    assert grey["threshold"] == 127.5


def test_unlabelled_voxels_are_left_out() -> None:
    """With a sparse truth only labelled voxels count."""
    sparse = np.zeros(TRUE.shape, np.uint8)
    sparse[::3, ::4] = 1 + TRUE[::3, ::4]
    found = 1 + (SCORE > 0.5).astype(np.uint8)
    values = bigseg.evaluate(found, truth=sparse, ignore=0)
    assert values["voxels"] == np.count_nonzero(sparse)
    assert values["confusion"] == metrics.confusion_matrix(sparse[::3, ::4].ravel(), found[::3, ::4].ravel()).tolist()
    outside = bigseg.evaluate(SCORE > 0.5, truth=TRUE, ignore=1, kind="classes")
    assert outside["voxels"] == np.count_nonzero(~TRUE)
    assert outside["accuracy"] == np.mean(SCORE[~TRUE] <= 0.5)


def test_what_is_not_defined_is_none() -> None:
    """An area without a negative voxel, and kappa of one class, are None; shares of nothing are 0."""
    values = bigseg.evaluate(SCORE, truth=np.ones_like(TRUE), threshold=0.5)
    assert values["auc"] is None
    assert values["recall"] == np.mean(SCORE > 0.5)
    empty = bigseg.evaluate(np.zeros((4, 4), "uint8"), truth=np.zeros((4, 4), "uint8"))
    assert (empty["kappa"], empty["accuracy"], empty["dice"]) == (None, 1.0, 0.0)


def test_a_figure_that_is_none_is_no_number(tmp_path: Path) -> None:
    """A later step that refers to it says which step did not find it, in a parameter and in an expression."""
    paths = stored(tmp_path, found=(SCORE * 255).astype(np.uint8), truth=np.ones_like(TRUE))
    quality = Step("quality", Evaluate(truth="truth", kind="scores"), ("found",))
    for number, step in enumerate(
        (Threshold(above="${quality.auc}"), bigseg.Select(expression="area > ${quality.auc}"))
    ):
        with pytest.raises(ValuesError, match=r"\$\{quality.auc\} is not known, as step 'quality' did not find it"):
            Pipeline([quality, Step("s", step, ("found",))], ["s"]).run(paths, tmp_path / f"{number}", workers=0)


def test_errors_are_exact_sums(tmp_path: Path) -> None:
    """The mean squared error of values of all sizes is that of rational numbers, rounded once."""
    found = (SCORE.astype(np.float64) * 10.0 ** RNG.integers(-9, 9, SCORE.shape)).astype(np.float32)
    values = bigseg.evaluate(found, truth=SCORE)
    pairs = zip(found.ravel().astype(float), SCORE.ravel().astype(float), strict=True)
    squares = [Fraction(float((a - b) ** 2)) for a, b in pairs]
    assert values["mse"] == float(sum(squares) / found.size)


@pytest.mark.parametrize(
    ("volumes", "parameters", "error", "why"),
    [
        ((SCORE, TRUE), {"kind": "classes"}, PipelineError, "holds floats, expected classes"),
        ((SCORE > 0.5, SCORE), {"kind": "scores"}, PipelineError, "the truth .* holds floats"),
        ((100 * SCORE, TRUE), {}, ParameterError, "give `threshold`"),
        (((SCORE > 0.5).astype("int8"), TRUE), {}, ParameterError, "give `threshold`, or for a mask say kind: classes"),
        ((SCORE[:9], TRUE), {}, BigsegError, "shape"),
        ((np.arange(900).reshape(30, 30), np.zeros((30, 30), int)), {}, ValuesError, "900 classes"),
        ((np.zeros((3, 3), int), np.zeros((3, 3), int)), {"kind": "objects"}, ValuesError, "no object"),
        ((np.ones((3, 3), int), np.ones((3, 3), int)), {"ignore": 1}, ValuesError, "no voxel was compared"),
    ],
)
def test_refusals(volumes: Any, parameters: dict[str, Any], error: type[Exception], why: str) -> None:
    """What cannot be compared is refused with what to do."""
    with pytest.raises(error, match=why):
        bigseg.evaluate(volumes[0], truth=volumes[1], **parameters)


def test_the_truth_must_be_a_volume_before(tmp_path: Path) -> None:
    """A truth that no step or input is, is refused with those that are."""
    paths = stored(tmp_path, found=TRUE.astype(np.uint8))
    steps = [Step("mask", Threshold(above=0)), Step("quality", Evaluate(truth="turth"))]
    with pytest.raises(PipelineError, match=r"'turth' is no volume before it; those are found, input, mask"):
        Pipeline(steps).plan(paths)


def test_an_error_map_says_what_figures_count(tmp_path: Path) -> None:
    """Its classes occur as often as the confusion says; under a mask and where the truth is ignored it is 0."""
    inside = np.zeros(TRUE.shape, np.uint8)
    inside[3:17, 4:29] = 1
    paths = stored(tmp_path, score=(SCORE * 255).astype(np.uint8), truth=TRUE.astype(np.uint8), inside=inside)
    steps = [
        Step("quality", Evaluate(truth="truth", kind="scores"), ("score",), "inside"),
        Step("wrong", ErrorMap(truth="truth", threshold="${quality.best_threshold}"), ("score",), "inside"),
        Step(
            "again", Evaluate(truth="truth", kind="scores", threshold="${quality.best_threshold}"), ("score",), "inside"
        ),
    ]
    run = Pipeline(steps, ["wrong"]).run(paths, tmp_path / "run", block=(7, 9), workers=0, report=False)
    found = np.asarray(run.outputs["wrong"])
    (tn, fp), (fn, tp) = run.values["again"]["confusion"]
    assert np.bincount(found.ravel(), minlength=5).tolist() == [np.count_nonzero(inside == 0), tn, tp, fp, fn]
    label = json.loads((tmp_path / "run" / "wrong.ome.zarr" / "zarr.json").read_text())["attributes"]["ome"][
        "image-label"
    ]
    names = {item["label-value"]: item["name"] for item in label["properties"]}
    assert names[3] == "false positive"
    assert {item["label-value"]: item["rgba"][3] for item in label["colors"]} == {0: 0, 1: 0, 2: 255, 3: 255, 4: 255}
    assert [item.name for item in Volume.open(tmp_path / "run" / "wrong.ome.zarr").spec.classes] == list(names.values())


def test_error_maps_of_arrays() -> None:
    """Masks, labels, one class of several, classes, and what is not labelled."""
    found, true = SCORE > 0.5, TRUE
    code = np.select([~true & ~found, true & found, ~true & found, true & ~found], [1, 2, 3, 4])
    assert np.array_equal(bigseg.error_map(found, true), code)
    assert np.array_equal(bigseg.error_map(SCORE, true, threshold=0.5), code)
    assert np.array_equal(bigseg.error_map(7 * found.astype("uint8"), 2 * true.astype("uint8"), positive=2), code)
    classes = 1 + found.astype(np.uint8)
    sparse = np.where(np.arange(true.size).reshape(true.shape) % 3, 0, 1 + true).astype(np.uint8)
    marked = bigseg.error_map(classes, sparse, ignore=0)
    assert np.array_equal(marked, np.where(sparse == 0, 0, np.where(classes == sparse, 1, 2)))


@pytest.mark.parametrize(
    ("volumes", "parameters", "why"),
    [
        ((SCORE, TRUE), {}, "holds floats: give `threshold`, as 0.5, or .{valid.best_threshold}"),
        ((SCORE > 0.5, SCORE), {}, "the truth .* holds floats"),
        ((SCORE[:9], TRUE), {"threshold": 0.5}, "shape"),
        ((SCORE, TRUE), {"threshold": 0.5, "kind": "classes"}, "belong to kind: mask"),
    ],
)
def test_refusals_of_error_maps(volumes: Any, parameters: dict[str, Any], why: str) -> None:
    """What cannot be compared is refused with what to do."""
    with pytest.raises(BigsegError, match=why):
        bigseg.error_map(volumes[0], truth=volumes[1], **parameters)

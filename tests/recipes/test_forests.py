"""The recipes that train forests: what they learn on one side of an image they find on the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image
from scipy import ndimage
from sklearn import metrics

import bigseg

SMALL = "parameters={n_estimators: 10, min_samples_leaf: 10}"


def test_text_needs_more_than_grey(tmp_path: Path) -> None:
    """page_text_forest.yaml: on the half that was never seen, differences of Gaussians beat intensity alone by far."""
    page = skimage.data.page()
    clean = ndimage.median_filter(page, 3).astype(np.float32)
    ink = clean - ndimage.gaussian_filter(clean, 20.0) < -15
    np.save(tmp_path / "page.npy", page)
    np.save(tmp_path / "ink.npy", ink)
    pipe = bigseg.Pipeline.load("page_text_forest", [f"grey.{SMALL}", f"edges.{SMALL}"])
    inputs = {"page": tmp_path / "page.npy", "drawn": tmp_path / "ink.npy"}
    run = pipe.run(inputs, tmp_path / "run", workers=0, block=(191, 100), report=False)
    area = {}
    for name, step in (("plain", "grey"), ("text", "edges")):
        found = run.outputs[name].values[:, 192:]
        area[name] = metrics.roc_auc_score(ink[:, 192:].ravel(), found.ravel())
        assert abs(run.values[step]["figures"]["test"]["auc"] - area[name]) < 0.01
    assert area["plain"] < 0.8 < 0.99 < area["text"]
    letters = run.outputs["letters"].values[:, 192:]
    assert metrics.f1_score(ink[:, 192:].ravel(), letters.ravel()) > 0.9


def test_mitochondria_of_the_other_half(data: Path, tmp_path: Path) -> None:
    """mitochondria_forest.yaml, with small forests: the second knows more than chance of the half that nobody saw."""
    image, drawn = (data / "lecture" / name for name in ("em_image.png", "em_image_seg.png"))
    changes = [f"{step}.{key}" for step in ("first", "forest") for key in (SMALL, "voxels=4000")]
    pipe = bigseg.Pipeline.load("mitochondria_forest", changes)
    run = pipe.run({"em": image, "drawn": drawn}, tmp_path / "run", workers=0, report=False)
    truth = np.asarray(Image.open(drawn))[:, 512:] > 0
    found = run.outputs["second"].values[:, 512:]
    assert metrics.roc_auc_score(truth.ravel(), found.ravel()) > 0.9
    assert run.outputs["mito"].attrs["kind"] == "labels"

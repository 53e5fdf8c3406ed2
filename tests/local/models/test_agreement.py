"""Figures of confusion matrices against sklearn.metrics, for many classes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from bigseg.errors import ValuesError
from bigseg.local.models.agreement import overall, per_class


@pytest.mark.parametrize("classes", [2, 3, 9])
def test_equals_scikit_learn(classes: int) -> None:
    """Every figure of every class, and of all, is scikit-learn's of the voxels that the matrix counts."""
    rng = np.random.default_rng(classes)
    true = rng.integers(0, classes, 500)
    found = np.where(rng.random(500) < 0.6, true, rng.integers(0, classes, 500))
    table = metrics.confusion_matrix(true, found)
    one = per_class(table)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(true, found)
    for value, wanted in ((one.precision, precision), (one.recall, recall), (one.f1, f1), (one.support, support)):
        np.testing.assert_allclose(value, wanted, rtol=1e-14)
    np.testing.assert_allclose(one.jaccard, metrics.jaccard_score(true, found, average=None), rtol=1e-14)
    assert one.predicted.tolist() == np.bincount(found).tolist()
    assert list(overall(table)) == pytest.approx(
        [
            metrics.accuracy_score(true, found),
            metrics.balanced_accuracy_score(true, found),
            metrics.cohen_kappa_score(true, found),
            metrics.matthews_corrcoef(true, found),
        ],
        rel=1e-13,
    )


def test_classes_that_never_occur() -> None:
    """Shares of nothing are 0; balanced accuracy leaves out classes without a true voxel."""
    table = [[3, 1, 0], [0, 0, 0], [2, 0, 0]]
    one = per_class(table)
    assert one.precision.tolist() == [0.6, 0.0, 0.0]
    assert one.recall.tolist() == [0.75, 0.0, 0.0]
    assert overall(table).balanced_accuracy == 0.375


def test_large_counts_do_not_overflow() -> None:
    """Counts of 1e13 voxels give what the same shares of few voxels give."""
    table = np.array([[5, 1], [2, 4]])
    assert list(overall(table * 10**12)) == pytest.approx(list(overall(table)), rel=1e-14)


def test_refuses_no_voxel() -> None:
    """Nothing compared is no result."""
    with pytest.raises(ValuesError, match="no voxel"):
        overall(np.zeros((2, 2), int))
    assert np.isnan(overall([[4]]).kappa)

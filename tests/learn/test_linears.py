"""Linear models by their own kernel: scikit-learn's values, the same bits for any part of the voxels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, Ridge, RidgeClassifier

from bigseg.errors import ParameterError, ValuesError
from bigseg.learn.linears import is_linear, linear_of
from bigseg.local.filters.exponential import exponential
from bigseg.local.models import linear_model as kernel

RNG = np.random.default_rng(0)
X = (RNG.standard_normal((5000, 9)) * np.logspace(-1, 1, 9)).astype(np.float32)
Y = np.digitize(X[:, 0] - X[:, 3] / 3 + 0.3 * RNG.standard_normal(5000), (-0.5, 0.5))


@pytest.mark.parametrize("estimator", [LinearRegression(), Ridge(0.1), LinearRegression(fit_intercept=False)])
def test_regressions(estimator: object) -> None:
    """Values within 1e-6 of the range of scikit-learn's, and its coefficients as the weights."""
    estimator.fit(X, Y)  # type: ignore[attr-defined]
    model = linear_of(estimator)
    np.testing.assert_array_equal(model.weights[0], estimator.coef_)  # type: ignore[attr-defined]
    wanted = estimator.predict(X)  # type: ignore[attr-defined]
    np.testing.assert_allclose(kernel.means(model, X.T)[0], wanted, rtol=0, atol=1e-6 * np.ptp(wanted))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", [LogisticRegression, RidgeClassifier])
def test_classifiers(kind: type, classes: int) -> None:
    """Labels are scikit-learn's, probabilities within 1e-6."""
    y = np.minimum(Y, classes - 1)
    estimator = (LogisticRegression(max_iter=2000) if kind is LogisticRegression else kind()).fit(X, y)
    model = linear_of(estimator)
    assert model.outputs == classes
    np.testing.assert_array_equal(kernel.labels(model, X.T), estimator.predict(X))
    if kind is LogisticRegression:
        np.testing.assert_allclose(kernel.means(model, X.T), estimator.predict_proba(X).T, rtol=0, atol=1e-6)
    else:
        with pytest.raises(ParameterError, match="no probabilities"):
            kernel.means(model, X.T)


def test_any_part_gives_the_same_bits() -> None:
    """Crops of any length and start, which a matrix product would round otherwise."""
    model = linear_of(LogisticRegression(max_iter=2000).fit(X, Y))
    sums, means = kernel.sums(model, X.T), kernel.means(model, X.T)
    for start, stop in ((0, 1), (1, 18), (3, 2051), (2047, 4999), (17, 5000)):
        np.testing.assert_array_equal(kernel.sums(model, X.T[:, start:stop]), sums[:, start:stop])
        np.testing.assert_array_equal(kernel.means(model, X.T[:, start:stop]), means[:, start:stop])


def test_the_exponential_is_exact_to_its_last_bits() -> None:
    """Within 1e-15 of numpy's for every magnitude; nothing overflows in a probability."""
    for x in [*-np.logspace(-12, 2.85, 300), -0.34657, -0.34658, -707.9]:
        assert exponential(x) == pytest.approx(np.exp(x), rel=1e-15, abs=0)
    model = kernel.Linear(np.array([[1.0]]), np.array([0.0]), "logistic")
    far = np.float32([[-1e30, -800, -40, 40, 800, 1e30]])
    np.testing.assert_allclose(kernel.means(model, far)[1], expit(far[0].astype(float)), atol=1e-12)


def test_refusals() -> None:
    """Other estimators, several targets, other features and NaN are refused by name."""
    assert not is_linear(Lasso())
    with pytest.raises(ParameterError, match="Lasso is no linear model"):
        linear_of(Lasso())
    with pytest.raises(ParameterError, match="not fitted"):
        linear_of(LinearRegression())
    with pytest.raises(ParameterError, match="2 targets"):
        linear_of(LinearRegression().fit(X, np.stack([Y, Y], 1)))
    model = linear_of(LinearRegression().fit(X, Y))
    with pytest.raises(ParameterError, match="expected 9 planes"):
        kernel.sums(model, X)
    with pytest.raises(ValuesError, match="NaN"):
        kernel.sums(model, np.full((9, 4), np.nan))
    for weights, link in ((np.ones((2, 3)), "value"), (np.ones((1, 3)), "softmax"), (np.full((1, 3), np.nan), "value")):
        with pytest.raises(ParameterError, match="no linear model"):
            kernel.Linear(weights, np.zeros(len(weights)), link)

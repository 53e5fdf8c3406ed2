"""What the mitochondria study promises of itself: no truth of what is judged is learned from, masks are bigseg's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LinearRegression

import bigseg

from . import cleaning, context, recipes
from .halves import BANDS, GUARD, Half, allowed, band, curve
from .mitochondria_course import same_coefficients
from .pooling import Pool


@pytest.fixture
def half() -> Half:
    """Dark disks in noise, 240 x 60."""
    chance = np.random.default_rng(0)
    y, x = np.mgrid[:240, :60]
    truth = np.zeros((240, 60), bool)
    for cy, cx in ((30, 20), (90, 40), (150, 15), (215, 35)):
        truth |= (y - cy) ** 2 + (x - cx) ** 2 < 120
    image = np.clip(160 - 60 * truth + chance.normal(0, 20, truth.shape), 0, 255)
    return Half(image.astype(np.uint8), truth)


def test_a_band_is_left_out_with_its_guard() -> None:
    """Bands cover the image once, and no row within the guard of one that is left out may be learned from."""
    shape = (100, 3)
    rows = np.concatenate([np.arange(100)[band(shape, number)] for number in range(BANDS)])
    assert rows.tolist() == list(range(100))
    assert np.flatnonzero(~allowed(shape, (1,))[:, 0]).tolist() == list(range(25 - GUARD, 50 + GUARD))


@pytest.mark.parametrize("passes", [1, 2])
def test_scores_do_not_know_the_truth_they_are_judged_by(
    half: Half, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Turning the truth of a band round leaves its scores the same bits, also after two passes."""
    monkeypatch.setitem(recipes.ESTIMATORS, "few", lambda: ExtraTreesClassifier(5, random_state=0))
    monkeypatch.setitem(recipes.SETS, "two", lambda image: bigseg.features(image, gaussian=[1, 2]))
    recipe = recipes.Recipe("two", ("few",), passes)
    scores = recipes.Study(half).folded(recipe)
    for number in (0, 2):
        rows = band(half.truth.shape, number)
        other = half.truth.copy()
        other[rows] = ~other[rows]
        found = recipes.Study(Half(half.image, other)).folded(recipe)
        assert np.array_equal(found[rows], scores[rows])
        assert not np.array_equal(found, scores)


def test_the_mask_is_the_one_that_was_searched(half: Half) -> None:
    """bigseg's chain gives the mask of scipy and scikit-image, and the best way beats the threshold it begins with."""
    scores = bigseg.gaussian((255 - half.image.astype(np.float32)) / 255, sigma=1)
    chosen = cleaning.choose(scores, half)
    assert chosen.best >= chosen.honest > 0
    ways = dict(cleaning.masks(scores))
    for how in (chosen.how, cleaning.Cleaning(4.0, 0.4, 0.55, 4, 300), cleaning.Cleaning(2.0, 0.3, 0.3, 0, 0)):
        (peer,) = (mask for way, mask in ways.items() if np.allclose(way, how))
        (exact,) = (way for way in ways if np.allclose(way, how))
        assert np.array_equal(cleaning.clean(scores, exact), peer)


def test_coefficients_are_those_of_scikit_learn(half: Half) -> None:
    """Sums over tiles give the nine coefficients of scikit-learn on a table of NumPy's windows."""
    table = bigseg.features(half.image, neighbours=1).reshape(9, -1).T
    model = LinearRegression().fit(np.ascontiguousarray(table), half.truth.reshape(-1).astype(np.float32))
    assert same_coefficients(model, half) < 1e-9
    wrong = LinearRegression().fit(table[:, ::-1], half.truth.reshape(-1).astype(np.float32))
    with pytest.raises(AssertionError, match="differs"):
        same_coefficients(wrong, half)


def test_the_pool_holds_what_cannot_be_told_apart(half: Half) -> None:
    """Of two that are each better in other bands both are averaged, one that is worse everywhere is left out."""
    chance = np.random.default_rng(1)
    clear = half.truth.astype(np.float32)
    spread = np.repeat([0.5, 0.7, 0.5, 0.7], 60)[:, np.newaxis]
    noise = {"odd": spread, "even": spread[::-1], "worse": 2 + 0 * spread}
    maps = {name: clear + (s * chance.normal(0, 1, clear.shape)).astype(np.float32) for name, s in noise.items()}
    pool = Pool(maps, half)
    found = pool.pooled()
    assert found.members == ["odd", "even"]
    assert np.array_equal(found.scores, np.mean([maps[name] for name in found.members], axis=0, dtype=np.float32))
    assert curve(found.scores, half.truth).areas()[0] > max(pool.area(name, tuple(range(BANDS))) for name in maps)
    assert found.best >= found.honest > 0


@pytest.mark.parametrize("turn", [np.rot90, np.flipud, np.fliplr])
def test_turned_copies_would_add_nothing(half: Half, turn: Callable[..., np.ndarray]) -> None:
    """Features of a turned or mirrored image are those of the image, turned: the page says so."""
    image = half.image[:120]
    plain, other = context.around(image), context.around(np.ascontiguousarray(turn(image)))
    turned = np.stack([turn(plane) for plane in plain])
    scale = np.maximum(np.ptp(turned, axis=(1, 2)), 1e-6)[:, np.newaxis, np.newaxis]
    # eigenvalues near each other and percentiles at rounded grey values move by float32's rounding
    assert np.quantile(np.abs(other - turned) / scale, 0.999) < 1e-3

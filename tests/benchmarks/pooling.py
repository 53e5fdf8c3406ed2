"""The declared rule of the mitochondria study: no recipe is picked, those that cannot be told apart are averaged.

Ten mitochondria do not tell which of twelve recipes is best: their best Dice lie closer together than the Dice of one
recipe changes from band to band, so that picking the best of them picks luck, and the threshold and the cleaning that
suited it by luck come with it. The rule, which looks at nothing but the left half's out-of-fold probabilities:

1. Compare by the area under the ROC curve, for which no threshold is chosen.
2. The best and all whose area is not less than its by more than one standard error (jackknife over the bands, of the
   difference) belong to the pool.
3. The mean of their probabilities is the score; the cleaning is the best of `cleaning.masks` on that mean.

The probability of a second pass comes from first passes that had not seen the truth where it learns (`recipes`), so
nothing in the mean has. Features are the same for turned and mirrored images, so copies of these would add nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from math import sqrt
from typing import NamedTuple

import numpy as np

from .cleaning import Cleaning, best_way, choose, tried
from .halves import BANDS, Array, Half, band, curve


class Pooled(NamedTuple):
    """The pool, its mean on the left half, and what the rule promises.

    Parameters
    ----------
    members : names of recipes, in the order of the maps.
    scores : mean of their out-of-fold probabilities.
    how : the cleaning, the best on all bands; ``best`` is its Dice there.
    honest : Dice where each band is judged by pool and cleaning of the other three.
    """

    members: list[str]
    scores: Array
    how: Cleaning
    best: float
    honest: float


class Pool:
    """Out-of-fold probabilities of several recipes by name, and the truth of the left half."""

    def __init__(self, maps: Mapping[str, Array], half: Half) -> None:
        self.maps, self.half = maps, half
        self.area = cache(self._area)

    def _area(self, name: str, bands: tuple[int, ...]) -> float:
        rows = [band(self.half.truth.shape, number) for number in bands]
        scores, truth = (np.concatenate([part[r] for r in rows]) for part in (self.maps[name], self.half.truth))
        return curve(scores, truth).areas()[0]

    def members(self, bands: Sequence[int]) -> list[str]:
        """The recipes that some bands do not tell from the best of them."""
        every = tuple(bands)
        best = max(self.maps, key=lambda name: self.area(name, every))
        found = []
        for name in self.maps:
            parts = [tuple(k for k in every if k != number) for number in every]
            less = np.array([self.area(best, part) - self.area(name, part) for part in parts])
            error = sqrt((len(less) - 1) / len(less) * float(((less - less.mean()) ** 2).sum()))
            if self.area(best, every) - self.area(name, every) <= error:
                found.append(name)
        return found

    def mean(self, names: Sequence[str]) -> Array:
        """Mean of some maps."""
        return np.mean([self.maps[name] for name in names], axis=0, dtype=np.float32)

    def pooled(self) -> Pooled:
        """The rule on all bands, and what it gives of each band when only the other three are known."""
        every = range(BANDS)
        names = self.members(every)
        scores = self.mean(names)
        chosen = choose(scores, self.half)
        counts = np.zeros(2)
        for number in every:
            others = [k for k in every if k != number]
            table, _ = tried(self.mean(self.members(others)), self.half)
            counts += table[best_way(table, others), number]
        return Pooled(names, scores, chosen.how, chosen.best, float(2 * counts[0] / counts[1]))

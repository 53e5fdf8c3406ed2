"""Products of features up to a degree, as sklearn.preprocessing.PolynomialFeatures without its column of ones."""

from __future__ import annotations

from itertools import combinations_with_replacement
from math import comb

import numpy as np

from bigseg.errors import ParameterError
from bigseg.local.filters.linear import Float32

MOST = 4096
"""Features at most, products included."""


def product_terms(features: int, degree: int) -> list[tuple[int, ...]]:
    """Which features are multiplied, products of two first.

    Raises
    ------
    ParameterError : more than `MOST` features.

    >>> product_terms(2, 3)
    [(0, 0), (0, 1), (1, 1), (0, 0, 0), (0, 0, 1), (0, 1, 1), (1, 1, 1)]
    """
    count = comb(features + degree, degree) - 1
    if degree > 1 and count > MOST:
        raise ParameterError(
            f"polynomial of degree {degree} of {features} features: {count} features, expected {MOST} at most; take "
            "fewer features or a lower degree"
        )
    return [term for n in range(2, degree + 1) for term in combinations_with_replacement(range(features), n)]


def fill_products(planar: Float32, features: int, degree: int) -> None:
    """Fill the rows after the first ``features`` with their products.

    As in scikit-learn, each is the product of one feature and a product of one less: the same bits.

    >>> planar = np.array([[2], [3], [0], [0], [0]], np.float32)
    >>> fill_products(planar, 2, 2)
    >>> planar.ravel()
    array([2., 3., 4., 6., 9.], dtype=float32)
    """
    before: dict[tuple[int, ...], int] = {(i,): i for i in range(features)}
    for place, term in enumerate(product_terms(features, degree), features):
        before[term] = place
        np.multiply(planar[before[term[1:]]], planar[term[0]], out=planar[place])

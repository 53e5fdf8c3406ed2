"""From 32 hashed bits to a Gaussian or a Poisson number, in plain arithmetic: the same bits on every machine.

Gaussian: the quantile function, from a table with 32 cells in every octave of the probability and straight lines
between. It is within 1e-4 of the true quantile up to 6.3 sigma, the largest that 32 bits can tell. The
table's entries are rounded to 2^-20, far above what one mathematical library and another differ by.

Poisson: below a mean of `FEW`, the distribution function is summed until it passes the drawn probability.
Above, the Cornish-Fisher expansion ``mean + sqrt(mean) g + (g^2 - 1) / 6``, rounded: mean, variance and skewness are
those of a Poisson number. ``exp(-mean)`` is a table (from decimal arithmetic) times a polynomial.
"""

from __future__ import annotations

from decimal import Decimal
from math import floor, sqrt
from statistics import NormalDist

import numpy as np
from numba import njit
from numpy.typing import NDArray

FEW = 16.0
"""Mean above which a Poisson number is a rounded, skewed Gaussian."""

_CELLS = 32  # of an octave
_OCTAVES = 33  # 2^-1 to 2^31 of 2^32
_FIRST = 126  # exponent of 0.5 in float32
_SHIFT = np.uint32(18)  # 23 bits of mantissa, 5 of which choose the cell
_REST = np.uint32((1 << 18) - 1)
_STEP = np.float32(1.0 / (1 << 18))
_OFFSET = np.uint32(_FIRST * _CELLS)


def _quantiles() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Start and rise of the quantile function in each cell."""
    octave, cell = np.divmod(np.arange(_OCTAVES * _CELLS + 1), _CELLS)
    probability = np.minimum(np.ldexp(1.0 + cell / _CELLS, octave - 33), 0.5)
    normal = np.array([NormalDist().inv_cdf(value) for value in probability.tolist()])
    edges = np.round(-normal * 2.0**20) / 2.0**20
    return edges[:-1].astype(np.float32), np.diff(edges).astype(np.float32)


def _powers() -> NDArray[np.float64]:
    """exp(-k / 16), rounded correctly."""
    return np.array([float((-Decimal(k) / 16).exp()) for k in range(int(FEW) * 16 + 1)])


STARTS, RISES = _quantiles()
POWERS = _powers()


@njit(nogil=True, cache=True)
def gaussians(line, bits, starts, rises):  # type: ignore[no-untyped-def]
    """Fill line (float32) with Gaussian numbers of mean 0 and deviation 1 from bits (uint32)."""
    for i in range(line.size):
        line[i] = np.float32(np.int32(bits[i] >> np.uint32(1))) + np.float32(0.5)
    shapes = line.view(np.uint32)
    for i in range(line.size):
        shape = shapes[i]
        cell = np.int32((shape >> _SHIFT) - _OFFSET)
        size = starts[cell] + rises[cell] * (np.float32(np.int32(shape & _REST)) * _STEP)
        line[i] = size if bits[i] & np.uint32(1) else -size


@njit(nogil=True, cache=True)
def poissons(line, bits, normal, powers):  # type: ignore[no-untyped-def]
    """Replace the means in line (float32) by Poisson numbers; normal: Gaussian numbers of the same bits."""
    for i in range(line.size):
        mean = np.float64(line[i])
        if mean >= FEW:
            g = np.float64(normal[i])
            line[i] = max(0.0, floor(mean + sqrt(mean) * g + (g * g - 1.0) / 6.0 + 0.5))
        elif mean > 0.0:
            line[i] = _few(mean, (np.float64(bits[i]) + 0.5) / 4294967296.0, powers)
        else:
            line[i] = 0.0


@njit(nogil=True, cache=True)
def _few(mean, wanted, powers):  # type: ignore[no-untyped-def]
    """The least number whose distribution function reaches a probability."""
    step = int(mean * 16.0)
    r = mean - step / 16.0
    one = powers[step] * (1.0 - r * (1.0 - r / 2.0 * (1.0 - r / 3.0 * (1.0 - r / 4.0 * (1.0 - r / 5.0)))))
    number, total = 0, one
    while total < wanted and number < 128:
        number += 1
        one *= mean / number
        total += one
    return number

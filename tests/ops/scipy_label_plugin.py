"""A pytest plugin: scipy.ndimage.label is ours for every 2-D and 3-D array with a structure of a connectivity.

scipy's own tests then test our label. Only the hook replaces it: that this file is imported (as pytest does with every
file that may hold doctests) must change nothing, or all oracles of this process would be ours, too.

What ours does not offer (1-D, other structures, an output array that is given) is handed on to scipy; the last line of
the session says how many calls each of the two answered.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.ndimage as nd
import scipy.ndimage._support_alternative_backends as backends
from scipy._lib._array_api import xp_capabilities_table

import bigseg

ORIGINAL = nd.label
COUNTS = {"bigseg": 0, "scipy": 0}


def label(input: Any, structure: Any = None, output: Any = None) -> Any:
    """scipy.ndimage.label's signature in front of bigseg.label."""
    array = np.asarray(input)
    connectivity = connectivity_of(array.ndim, structure)
    if array.ndim not in (2, 3) or connectivity is None or array.dtype.kind not in "biuf" or not array.size:
        COUNTS["scipy"] += 1
        return ORIGINAL(input, structure, output)
    COUNTS["bigseg"] += 1
    found = bigseg.label((array != 0).astype(np.uint8), connectivity=connectivity)
    count = int(found.max())
    if isinstance(output, np.ndarray):
        output[...] = found
        return count
    return found.astype(np.int32 if output is None else output), count


def connectivity_of(ndim: int, structure: Any) -> int | None:
    """The connectivity that a structure means, or None where it means none."""
    if structure is None:
        return 1
    wanted = np.asarray(structure, bool)
    for connectivity in range(1, ndim + 1):
        if np.array_equal(wanted, nd.generate_binary_structure(ndim, connectivity)):
            return connectivity
    return None


def pytest_configure() -> None:
    """Before any test module is imported."""
    if ORIGINAL in xp_capabilities_table:
        xp_capabilities_table[label] = xp_capabilities_table[ORIGINAL]
    nd.label = label
    backends.label = label


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say who answered."""
    terminalreporter.write_line(f"bigseg answered {COUNTS['bigseg']} calls, scipy {COUNTS['scipy']}")

"""Components of random voxels counted plane by plane: an answer to check the engine's against, made another way.

Each plane is labelled by scipy.ndimage.label; the components that reach it so far and its own are joined where they
touch, by scipy's connected components of a graph. Number = components of all planes - joins. 6 neighbours.

    python -m tests.benchmarks.streaming_count 1024
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from bigseg.local.phantom.uniform import random_voxels


def count(shape: tuple[int, int, int], threshold: float, seed: int = 0) -> int:
    """Objects of the voxels above a threshold."""
    total, reached = 0, 0
    before = np.zeros(shape[1:], np.int64)
    plane = np.empty((1, *shape[1:]), np.float32)
    for z in range(shape[0]):
        random_voxels((z, 0, 0), seed, plane)
        labels, found = ndimage.label(plane[0] > np.float32(threshold))
        both = (labels > 0) & (before > 0)
        edges = sparse.coo_array(
            (np.ones(np.count_nonzero(both), np.int8), (before[both] - 1, reached + labels[both] - 1)),
            shape=(reached + found, reached + found),
        )
        groups, group = csgraph.connected_components(edges, directed=False)
        total += found - (reached + found - groups)
        here = np.concatenate([[-1], group[reached:]])[labels]
        names, place = np.unique(here[labels > 0], return_inverse=True)
        before = np.zeros(shape[1:], np.int64)
        before[labels > 0] = place + 1
        reached = names.size
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", type=int)
    parser.add_argument("--threshold", type=float, default=0.8)
    arguments = parser.parse_args()
    began = time.perf_counter()
    found = count((arguments.side,) * 3, arguments.threshold)
    print(f"{arguments.side}^3 random > {arguments.threshold}: {found} objects, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()

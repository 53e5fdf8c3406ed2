"""Classes of k-means against scikit-learn: one thread each, turn by turn in one run.

``OMP_NUM_THREADS=1 ... python -m tests.benchmarks.clustering [--repeats 3] [--out DIR]`` writes CLUSTERING.md and
CLUSTERING.json. Thirty features (`basic`) of a volume: ours are classified tile by tile where they lie; scikit-learn's
``predict`` gets the same features as rows, all at once. `prediction` is the classes alone, `fused` with the features
(scikit-image's multiscale_basic_features for the peer). Rates are of processor seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from skimage.feature import multiscale_basic_features
from sklearn.cluster import MiniBatchKMeans

from bigseg.local.centres import nearest_centre
from bigseg.ops.features import Features
from bigseg.storage.spec import Spec

from .features import image
from .measure import ONE_THREAD
from .run import machine

SHAPE = (96, 160, 160)
CLUSTERS = (4, 8)


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds, and what came out."""
    begin = time.process_time()
    found = function()
    return time.process_time() - begin, found


def measure(clusters: int, repeats: int) -> list[dict[str, Any]]:
    """Two rows of the table."""
    x = image((160, 160, 160))[: SHAPE[0]]
    stack = Features(preset="basic").stack(Spec(x.shape, x.dtype, ("z", "y", "x"), (1.0,) * 3))
    keep = tuple(slice(0, n) for n in x.shape)
    planes = np.concatenate([tile.planes.copy() for tile in stack.tiles([x], keep)], axis=1)
    rows = np.ascontiguousarray(planes.T)
    model = MiniBatchKMeans(clusters, random_state=0, n_init=1).fit(rows[::7])
    centres = model.cluster_centers_

    def fused() -> None:
        for tile in stack.tiles([x], keep):
            nearest_centre(tile.planes, centres)

    def peer() -> None:
        model.predict(multiscale_basic_features(x, workers=1).reshape(-1, len(stack.names)))

    seconds: dict[str, list[float]] = {name: [] for name in ("ours", "theirs", "fused", "peer")}
    same = 0.0
    for _ in range(repeats):
        ours, found = timed(lambda: nearest_centre(planes, centres).places)
        theirs, wanted = timed(lambda: model.predict(rows))
        same = float(np.mean(found == wanted))
        for name, value in (("ours", ours), ("theirs", theirs), ("fused", timed(fused)[0]), ("peer", timed(peer)[0])):
            seconds[name].append(value)
    ns = {name: statistics.median(values) / x.size * 1e9 for name, values in seconds.items()}
    return [
        {"what": "prediction", "k": clusters, "bigseg": ns["ours"], "peer": ns["theirs"], "same": same},
        {"what": "fused", "k": clusters, "bigseg": ns["fused"], "peer": ns["peer"], "same": None},
    ]


def render(record: Mapping[str, Any]) -> str:
    """The page as Markdown."""
    facts = record["machine"]
    lines = [
        "# Classes of k-means, one thread",
        "",
        f"`{record['command']}`, {record['began']}, {facts['cores']} x {facts['processor']}, load {facts['load']} at "
        f"the start; medians of {record['repeats']} in processor time, "
        f"{' x '.join(map(str, SHAPE))} float32, 30 features.",
        "",
        "| what | classes | bigseg, ns/voxel | scikit-learn | ratio | same classes |",
        "|---|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        same = "" if row["same"] is None else f"{100 * row['same']:.4f} %"
        lines.append(
            f"| {row['what']} | {row['k']} | {row['bigseg']:.1f} | {row['peer']:.1f} "
            f"| {row['peer'] / row['bigseg']:.1f} x | {same} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.clustering", description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args(arguments)
    if missing := [name for name in ONE_THREAD if os.environ.get(name) != "1"]:
        parser.error(f"one thread each: set {'=1 '.join(missing)}=1 before the command")
    options = " ".join(arguments if arguments is not None else sys.argv[1:])
    record: dict[str, Any] = {
        "command": f"python -m tests.benchmarks.clustering {options}".strip(),
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "repeats": given.repeats,
        "rows": [],
    }
    given.out.mkdir(parents=True, exist_ok=True)
    for clusters in CLUSTERS:
        record["rows"] += measure(clusters, given.repeats)
        for row in record["rows"][-2:]:
            print(f"{row['what']:10} k={row['k']}  {row['bigseg']:8.1f} {row['peer']:8.1f} ns/voxel", flush=True)
        (given.out / "CLUSTERING.json").write_text(json.dumps(record, indent=1) + "\n")
        (given.out / "CLUSTERING.md").write_text(render(record))


if __name__ == "__main__":
    main()

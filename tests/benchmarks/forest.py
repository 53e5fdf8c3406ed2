"""Forests against scikit-learn: one thread each, feature vectors of a real image in memory, turn by turn in one run.

``OMP_NUM_THREADS=1 ... python -m tests.benchmarks.forest [--repeats 5] [--out DIR]`` writes FOREST.md and FOREST.json.
A random forest of 100 trees and about 200,000 nodes learns mitochondria on the left half of the lecture's electron
micrograph from 13 features (grey value, and skimage's intensity, edges and texture at three scales); the right half
is predicted. Rates are of processor seconds, since others may use the machine; both sides get the same array. Labels
must be scikit-learn's, and probabilities its own as float32: a fast wrong answer is no answer.
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
from skimage import feature, io
from sklearn.ensemble import RandomForestClassifier

from bigseg.learn.forests import forest_of
from bigseg.local import forest as kernel

from .measure import ONE_THREAD
from .run import machine

DATA = Path(os.environ.get("BIGSEG_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")) / "lecture"
SAMPLES = 30_000
GOALS = {"probabilities": 2.2, "labels": 4.0}
Array = np.ndarray


def vectors() -> tuple[Array, Array]:
    """Features (y, x, 13) of the image, and the truth."""
    image, truth = (io.imread(DATA / name) for name in ("em_image.png", "em_image_seg.png"))
    grey = image.astype(np.float32)
    several = feature.multiscale_basic_features(grey, sigma_min=1, sigma_max=4, num_sigma=3)
    return np.concatenate([grey[..., None], several], axis=-1).astype(np.float32), truth > 0


def trained(vectors: Array, truth: Array) -> RandomForestClassifier:
    """A forest that has seen some of the left half."""
    half = truth.shape[1] // 2
    table, known = vectors[:, :half].reshape(-1, vectors.shape[-1]), truth[:, :half].ravel()
    chosen = np.random.default_rng(0).choice(known.size, SAMPLES, replace=False)
    return RandomForestClassifier(100, n_jobs=1, random_state=0).fit(table[chosen], known[chosen])


def timed(function: Callable[[], Array]) -> tuple[float, Array]:
    """Processor seconds of this thread, and what came out."""
    begin = time.thread_time()
    found = function()
    return time.thread_time() - begin, found


def measure(repeats: int) -> dict[str, Any]:
    """Both rows, and what the forest is."""
    every, truth = vectors()
    model = trained(every, truth)
    forest = forest_of(model)
    table = np.ascontiguousarray(every[:, truth.shape[1] // 2 :].reshape(-1, every.shape[-1]))
    planes = np.ascontiguousarray(table.T)
    kernel.means(forest, planes[:, :99])
    kernel.labels(forest, planes[:, :99])
    seconds: dict[str, list[float]] = {"scikit-learn": [], "probabilities": [], "labels": []}
    for _ in range(repeats):
        spent, wanted = timed(lambda: model.predict_proba(table))
        seconds["scikit-learn"].append(spent)
        spent, means = timed(lambda: kernel.means(forest, planes))
        seconds["probabilities"].append(spent)
        spent, labels = timed(lambda: kernel.labels(forest, planes))
        seconds["labels"].append(spent)
        assert np.array_equal(means, wanted.T.astype(np.float32)), "other probabilities than scikit-learn's"
        assert np.array_equal(labels, wanted.argmax(axis=1)), "other labels than scikit-learn's"
    rates = {who: len(table) / statistics.median(runs) / 1e6 for who, runs in seconds.items()}
    facts = {"trees": forest.trees, "nodes": forest.nodes, "features": forest.features, "voxels": len(table)}
    return {**facts, "seconds": seconds, "rates": rates}


def render(record: Mapping[str, Any]) -> str:
    """The page as Markdown."""
    facts, found = record["machine"], record["found"]
    lines = [
        "# Forest, one thread",
        "",
        f"`{record['command']}`, {record['began']}, {facts['cores']} x {facts['processor']}, load {facts['load']} "
        f"at the start; medians of {record['repeats']} turns; {found['trees']} trees, {found['nodes']:,} nodes, "
        f"{found['features']} features, {found['voxels']:,} voxels of the lecture's micrograph. Labels and "
        "probabilities (as float32) are scikit-learn's exactly.",
        "",
        "| what | bigseg, Mvox/s | scikit-learn predict_proba, Mvox/s | ratio | goal | reached |",
        "|---|---|---|---|---|---|",
    ]
    peer = found["rates"]["scikit-learn"]
    for name, goal in GOALS.items():
        rate = found["rates"][name]
        reached = "yes" if rate >= goal * peer else "**no**"
        lines.append(f"| {name} | {rate:.2f} | {peer:.2f} | {rate / peer:.1f} x | >= {goal:g} x | {reached} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.forest", description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args(arguments)
    if missing := [name for name in ONE_THREAD if os.environ.get(name) != "1"]:
        parser.error(f"one thread each: set {'=1 '.join(missing)}=1 before the command")
    options = " ".join(arguments if arguments is not None else sys.argv[1:])
    record = {
        "command": f"python -m tests.benchmarks.forest {options}".strip(),
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "repeats": given.repeats,
        "found": measure(given.repeats),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "FOREST.json").write_text(json.dumps(record, indent=1) + "\n")
    (given.out / "FOREST.md").write_text(render(record))
    print(render(record), end="")


if __name__ == "__main__":
    main()

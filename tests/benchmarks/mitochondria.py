"""Mitochondria in an electron micrograph: the course's seven ways, and recipes chosen on the left half alone.

    python -m tests.benchmarks.mitochondria --out DIR

writes MITOCHONDRIA.md and MITOCHONDRIA.json beside this file (or to --page) and mitochondria.png to DIR. Everything is
learned, and every threshold, pool and cleaning chosen, on the left half; each figure says on which half it was taken.
The declared rule is that of `pooling`; two rules before it (`EARLIER`) had looked at the right half, and the page shows
what they gave and how often the right half was looked at in all. What DIR holds of an earlier run that was stopped is
taken from there, and the page says that too.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from sklearn.linear_model import LinearRegression

import bigseg

from .cleaning import Cleaning, choose, clean, masks, smoothed
from .halves import Array, Half, curve, dice, load, mae
from .measure import with_one_thread
from .mitochondria_course import WAYS, judge, same_coefficients
from .mitochondria_page import render
from .page import HERE, begun, write
from .pooling import Pool
from .recipes import RECIPES, Study, as_shares

EARLIER = {"first": "honest", "second": "AUC left"}
"""Earlier looks at the right half: of the recipe with the greatest of this figure of the left half, see `study`."""


def study(found: Study, folder: Path, known: dict[str, dict[str, Any]], keep: Callable[[], None]) -> dict[str, Array]:
    """Every recipe on the left half: figures into ``known`` by name, scores into ``folder``, and given back.

    What is known already is not computed again.
    """
    left, maps = found.left, {}
    for recipe in RECIPES:
        path = folder / f"left, {recipe.name}.npy"
        if recipe.name in known and path.exists():
            maps[recipe.name] = np.load(path)
            continue
        begin = time.process_time()
        scores = maps[recipe.name] = found.folded(recipe)
        np.save(path, scores)
        shape = curve(scores, left.truth)
        chosen = choose(scores, left)
        known[recipe.name] = {
            "AUC left": shape.areas()[0],
            "Dice left": shape.best()[1],
            "threshold": shape.best()[0],
            "cleaning": list(chosen.how),
            "cleaned": chosen.best,
            "honest": chosen.honest,
            "seconds": time.process_time() - begin,
        }
        row = known[recipe.name]
        print(recipe.name, {key: row[key] for key in ("AUC left", "Dice left", "cleaned", "honest")}, flush=True)
        keep()
    return maps


def final(
    parts: Sequence[Array], how: Cleaning, threshold: float, left: Half, right: Half
) -> tuple[dict[str, float], Array, Array]:
    """The figures on the right half of the mean of some recipes' scores; that mean and its mask."""
    scores = np.mean(parts, axis=0, dtype=np.float32)
    mask = clean(scores, how)
    (same,) = (peer for way, peer in masks(scores) if way == how)
    assert np.array_equal(mask, same), "bigseg's cleaning differs from scipy's and scikit-image's"
    smooth = smoothed(scores, how.sigma)
    shares = as_shares(scores, left.truth)
    stated = bigseg.evaluate(mask, truth=right.truth)
    figures = {
        "AUC": curve(scores, right.truth).areas()[0],
        "AUC smoothed": curve(smooth, right.truth).areas()[0],
        "Dice at the threshold": dice(scores > threshold, right.truth),
        "Dice": dice(mask, right.truth),
        "precision": stated["precision"],
        "recall": stated["recall"],
        "MAE": mae(shares, right.truth),
        "MAE of the mask": mae(mask, right.truth),
    }
    assert abs(stated["dice"] - figures["Dice"]) < 1e-12
    return figures, scores, mask


def picture(
    right: Half, course: Sequence[tuple[str, Any, Array]], final: Sequence[tuple[str, Array, Array]], path: Path
) -> None:
    """All results of the right half; of each chosen recipe its scores, and its mask over the image."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    panels = [("right half", right.image, "gray", None, None), ("truth", right.truth, "viridis", 1, None)]
    for way, figures, scores in course:
        said = f"AUC {figures['AUC right']:.3f}, Dice {figures['Dice right']:.2f}"
        panels.append((f"{way}\n{said}", scores, "viridis", 1, None))
    for name, scores, mask in final:
        area = curve(scores, right.truth).areas()[0]
        panels.append((f"{name}\nprobability, AUC {area:.3f}", scores, "viridis", 1, None))
        said = f"green: truth, red: cleaned mask\nDice {dice(mask, right.truth):.3f}"
        panels.append((said, right.image, "gray", None, mask))
    figure, axes = plt.subplots(3, 5, figsize=(13, 13), layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (title, image, colours, most, mask) in zip(axes.flat, panels, strict=False):
        axis.imshow(image, cmap=colours, vmin=0, vmax=most)
        axis.set_title(title, fontsize=8)
        for item, colour in ((right.truth, "#228833"), (mask, "#ee6677")) if mask is not None else ():
            axis.contour(item, [0.5], colors=colour, linewidths=1)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.mitochondria", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the picture, and of what is done already")
    parser.add_argument("--page", type=Path, default=HERE, help="folder of the page")
    given = parser.parse_args(arguments)
    with_one_thread("mitochondria")
    start, begin = begun("mitochondria", ["--out", "DIR"]), time.perf_counter()
    given.out.mkdir(parents=True, exist_ok=True)
    store = given.out / "mitochondria.json"
    done: dict[str, Any] = json.loads(store.read_text()) if store.exists() else {"course": {}, "recipes": {}, "runs": 0}
    if "runs" in done:
        done["runs"] += 1

    def keep() -> None:
        part = store.with_suffix(".part")
        part.write_text(json.dumps(done, indent=1) + "\n")
        os.replace(part, store)

    left, right = load()
    for way in WAYS:
        if way.name not in done["course"]:
            outcome = judge(way, left, right)
            np.save(given.out / f"{way.name}.npy", outcome.scores)
            done["course"][way.name] = {"features": outcome.features, **outcome.figures}
            if isinstance(outcome.model, LinearRegression):
                done["kernel"] = [*outcome.model.coef_.tolist(), float(outcome.model.intercept_)]
                done["difference"] = same_coefficients(outcome.model, left)
            print(way.name, {name: round(value, 4) for name, value in outcome.figures.items()}, flush=True)
            keep()
    found = Study(left)
    pool = Pool(study(found, given.out, done["recipes"], keep), left)
    rows = done["recipes"]
    chosen = pool.pooled()
    shape = curve(chosen.scores, left.truth)
    done["pool"] = {
        "members": chosen.members,
        "AUC left": shape.areas()[0],
        "Dice left": shape.best()[1],
        "threshold": shape.best()[0],
        "cleaning": list(chosen.how),
        "cleaned": chosen.best,
        "honest": chosen.honest,
    }
    print("pool", {key: value for key, value in done["pool"].items() if key != "cleaning"}, flush=True)
    keep()
    looks: list[tuple[str, str, list[str], Mapping[str, Any]]] = []
    looks.append(("declared", f"mean of {len(chosen.members)} recipes", chosen.members, done["pool"]))
    for by, key in EARLIER.items():
        name = max(rows, key=lambda item: float(rows[item][key]))
        looks.append((by, name, [name], rows[name]))
    recipes = {item.name: item for item in RECIPES}
    judged = cache(lambda name: found.final(recipes[name], right.image))
    done["final"], shown = [], []
    for by, name, names, row in looks:
        how = Cleaning(*row["cleaning"])
        figures, scores, mask = final([judged(item) for item in names], how, row["threshold"], left, right)
        shown.append((name, scores, mask))
        done["final"].append({"by": by, "recipe": name, "cleaning": row["cleaning"], "figures": figures})
        print(by, name, figures, flush=True)
    done |= {**start, "seconds": time.perf_counter() - begin}
    done["scikit-learn"] = version("scikit-learn")
    keep()
    write(given.page, "MITOCHONDRIA", done, render)
    course = [(way.name, done["course"][way.name], np.load(given.out / f"{way.name}.npy")) for way in WAYS]
    picture(right, course, shown, given.out / "mitochondria.png")


if __name__ == "__main__":
    main()

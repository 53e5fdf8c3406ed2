"""Mitochondria in an electron micrograph: the course's seven ways, and recipes chosen on the left half alone.

    python -m tests.benchmarks.mitochondria --out DIR

writes MITOCHONDRIA.md and MITOCHONDRIA.json beside this file (or to --page) and mitochondria.png to DIR. Everything is
learned, and every threshold and recipe chosen, on the left half; each figure says on which half it was taken. The rule
by which a recipe is chosen is the first of `RULES`; what else is judged on the right half is a second look, and says
so. What DIR holds of an earlier run that was stopped is taken from there, and the page says that too.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
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
from .recipes import RECIPES, Study, as_shares

RULES = {"Dice": "honest", "AUC": "AUC left"}
"""Figures of the left half, see `study`: by the first a recipe is chosen; the best by the other is a second look."""


def study(left: Half, known: dict[str, dict[str, Any]], keep: Callable[[], None]) -> Study:
    """Every recipe on the left half, into ``known`` by name; what is known already is not computed again."""
    found = Study(left)
    for recipe in RECIPES:
        if recipe.name in known:
            continue
        begin = time.process_time()
        scores = found.folded(recipe)
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
    return found


def final(found: Study, name: str, row: Mapping[str, Any], right: Half) -> tuple[dict[str, float], Array, Array]:
    """The figures of a chosen recipe on the right half, its scores and its mask."""
    how = Cleaning(*row["cleaning"])
    recipe = next(item for item in RECIPES if item.name == name)
    scores = found.final(recipe, right.image)
    mask = clean(scores, how)
    (same,) = (peer for way, peer in masks(scores) if way == how)
    assert np.array_equal(mask, same), "bigseg's cleaning differs from scipy's and scikit-image's"
    smooth = smoothed(scores, how.sigma)
    shares = as_shares(scores, found.left.truth)
    stated = bigseg.evaluate(mask, truth=right.truth)
    figures = {
        "AUC": curve(scores, right.truth).areas()[0],
        "AUC smoothed": curve(smooth, right.truth).areas()[0],
        "Dice at the threshold": dice(scores > row["threshold"], right.truth),
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
    parser.add_argument("--choose", action="store_true", help="choose among the recipes that are done already")
    given = parser.parse_args(arguments)
    with_one_thread("mitochondria")
    start, begin = begun("mitochondria", arguments), time.perf_counter()
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
    found = Study(left) if given.choose else study(left, done["recipes"], keep)
    rows = {item.name: done["recipes"][item.name] for item in RECIPES if item.name in done["recipes"]}
    best = {by: max(rows, key=lambda name: rows[name][key]) for by, key in RULES.items()}
    done["final"], shown = [], []
    for name in dict.fromkeys(best.values()):
        figures, scores, mask = final(found, name, rows[name], right)
        shown.append((name, scores, mask))
        by = " and ".join(key for key, value in best.items() if value == name)
        done["final"].append({"by": by, "recipe": name, "cleaning": rows[name]["cleaning"], "figures": figures})
        print(by, name, figures, flush=True)
    done |= {**start, "seconds": time.perf_counter() - begin}
    done["scikit-learn"] = version("scikit-learn")
    keep()
    write(given.page, "MITOCHONDRIA", done, render)
    course = [(way.name, done["course"][way.name], np.load(given.out / f"{way.name}.npy")) for way in WAYS]
    picture(right, course, shown, given.out / "mitochondria.png")


if __name__ == "__main__":
    main()

"""Mitochondria in an electron micrograph: the course's seven ways, and recipes chosen on the left half alone.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.mitochondria --out DIR

writes MITOCHONDRIA.md and MITOCHONDRIA.json beside this file (or to --page) and mitochondria.png to DIR. Everything is
learned, and every threshold and recipe chosen, on the left half; each figure says on which half it was taken.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from sklearn.linear_model import LinearRegression

import bigseg

from .cleaning import Cleaning, choose, clean, masks, smoothed
from .halves import BANDS, GUARD, Array, Half, curve, dice, load, mae
from .mitochondria_course import WAYS, judge, same_coefficients
from .recipes import NO, RECIPES, YES, Study, as_shares
from .run import machine

AIM_AUC, AIM_DICE = 0.985, 0.85


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


def render(record: Mapping[str, Any]) -> str:
    """The page."""
    lines = [
        "# Mitochondria",
        "",
        f"`OMP_NUM_THREADS=1 python -m tests.benchmarks.mitochondria --out DIR`, {record['began']}, scikit-learn "
        f"{record['scikit-learn']}, {record['machine']['processor']}. Electron micrograph of 768 x 1024 pixels, full "
        "resolution; the left half is learned from, the right half judged on. The halves are two images: nothing, not "
        f"even a filter, looks across. Left figures come from {BANDS} bands of rows, each judged by models that had "
        f"not seen it nor {GUARD} rows around it.",
        "",
        "## The course's seven ways",
        "",
        "Each regresses the mask. The threshold is the one with the best Dice on the left half's bands. AUC seen: on "
        "the half it learned from.",
        "",
        "| way | features | AUC seen (left) | AUC (left, bands) | AUC (right) | Dice (right) | Dice at 0.5 (right) "
        "| MAE (right) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in record["course"].items():
        lines.append(
            f"| {name} | {row['features']} | {row['AUC seen']:.3f} | {row['AUC left']:.3f} "
            f"| {row['AUC right']:.3f} | {row['Dice right']:.3f} | {row['Dice right at 0.5']:.3f} "
            f"| {row['MAE right']:.3f} |"
        )
    kernel = np.array(record["kernel"][:9]).reshape(3, 3) * 255
    lines += [
        "",
        "The linear regression as a kernel (of grey values 0 to 1, a row a row):",
        "",
        "| | | |",
        "|---|---|---|",
    ]
    lines += ["| " + " | ".join(f"{value:+.4f}" for value in row) + " |" for row in kernel]
    lines += [
        "",
        f"offset {record['kernel'][9]:+.4f}. Asserted: the coefficients are scikit-learn's, and sums over bigseg's "
        f"tiles are those of scikit-learn on a table made without bigseg, within {record['difference']:.0e}.",
        "",
        "## Recipes on the left half",
        "",
        f"Models learn from {YES:,} pixels of mitochondria and {NO:,} of the rest. Dice: at the best threshold. "
        "Cleaned: smoothing, hysteresis, opening, holes filled, small objects removed, the best of 180 ways on all "
        "bands. Other bands: each band by the way that is best on the other three: by this a recipe is chosen. The one "
        "with the best AUC is judged on the right half too. Both rules were set before any recipe was judged there; of "
        "ten mitochondria they are weak, and they need not agree: the better of the two is no choice of the left half. "
        "Seconds: of processor time, what recipes share counted where it is first computed.",
        "",
        "| recipe | AUC | Dice | cleaned | cleaned, other bands | s |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in record["recipes"].items():
        lines.append(
            f"| {name} | {row['AUC left']:.4f} | {row['Dice left']:.3f} | {row['cleaned']:.3f} "
            f"| {row['honest']:.3f} | {row['seconds']:.0f} |"
        )
    for item in record["final"]:
        how = Cleaning(*item["cleaning"])
        lines += [
            "",
            f"## On the right half: {item['recipe']} (best {item['by']} on the left half)",
            "",
            f"Cleaned: smoothed by {how.sigma:g}, hysteresis {how.low:g} / {how.high:g}, opened by {how.radius}, holes "
            f"filled, objects of {how.least} pixels and more.",
            "",
            "| figure | right half | aim |",
            "|---|---|---|",
        ]
        aims = {"AUC": AIM_AUC, "Dice": AIM_DICE}
        for name, value in item["figures"].items():
            aim = aims.get(name)
            said = "" if aim is None else f">= {aim:g}: {'reached' if value >= aim else '**not reached**'}"
            lines.append(f"| {name} | {value:.4f} | {said} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.mitochondria", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the picture, and of what is done already")
    parser.add_argument("--page", type=Path, default=Path(__file__).parent, help="folder of the page")
    parser.add_argument("--choose", action="store_true", help="choose among the recipes that are done already")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    store = given.out / "mitochondria.json"
    done: dict[str, Any] = json.loads(store.read_text()) if store.exists() else {"course": {}, "recipes": {}}

    def keep() -> None:
        store.write_text(json.dumps(done, indent=1) + "\n")

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
    rows = done["recipes"]
    best = {by: max(rows, key=lambda name: rows[name][key]) for by, key in (("Dice", "honest"), ("AUC", "AUC left"))}
    done["final"], shown = [], []
    for name in dict.fromkeys(best.values()):
        figures, scores, mask = final(found, name, rows[name], right)
        shown.append((name, scores, mask))
        by = " and ".join(key for key, value in best.items() if value == name)
        done["final"].append({"by": by, "recipe": name, "cleaning": rows[name]["cleaning"], "figures": figures})
        print(by, name, figures, flush=True)
    done |= {"began": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine()}
    done["scikit-learn"] = version("scikit-learn")
    keep()
    (given.page / "MITOCHONDRIA.json").write_text(json.dumps(done, indent=1) + "\n")
    (given.page / "MITOCHONDRIA.md").write_text(render(done))
    course = [(way.name, done["course"][way.name], np.load(given.out / f"{way.name}.npy")) for way in WAYS]
    picture(right, course, shown, given.out / "mitochondria.png")


if __name__ == "__main__":
    main()

"""The page of the mitochondria study, from its record: what was chosen, by which rule, and what is a second look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .cleaning import Cleaning
from .halves import BANDS, GUARD
from .page import circumstances, table
from .recipes import NO, YES

AIMS = {"AUC": 0.985, "Dice": 0.85}
COURSE = (
    "way",
    "features",
    "AUC seen (left)",
    "AUC (left, bands)",
    "AUC (right)",
    "Dice (right)",
    "Dice at 0.5 (right)",
    "MAE (right)",
)
LEFT = ("recipe", "AUC", "Dice", "cleaned", "cleaned, other bands", "s")


def render(record: Mapping[str, Any]) -> str:
    """The page."""
    lines = [
        "# Mitochondria",
        "",
        f"{circumstances(record)}, scikit-learn {record['scikit-learn']}; {_runs(record)}. Electron micrograph of "
        "768 x 1024 pixels, full resolution; the left half is learned from, the right half judged on. The halves are "
        f"two images: nothing, not even a filter, looks across. Left figures come from {BANDS} bands of rows, each "
        f"judged by models that had not seen it nor {GUARD} rows around it.",
        "",
        "## The course's seven ways",
        "",
        "Each regresses the mask. The threshold is the one with the best Dice on the left half's bands. AUC seen: on "
        "the half it learned from.",
        "",
        *table(COURSE, [_course(name, row) for name, row in record["course"].items()]),
    ]
    kernel = np.array(record["kernel"][:9]).reshape(3, 3) * 255
    lines += [
        "",
        "The linear regression as a kernel (of grey values 0 to 1, a row a row):",
        "",
        *table([""] * 3, [[f"{value:+.4f}" for value in row] for row in kernel]),
    ]
    lines += [
        "",
        f"offset {record['kernel'][9]:+.4f}. Asserted: the coefficients are scikit-learn's, and sums over bigseg's "
        f"tiles are those of scikit-learn on a table made without bigseg, within {record['difference']:.0e}.",
        "",
        "## Recipes on the left half",
        "",
        f"Models learn from {YES:,} pixels of mitochondria and {NO:,} of the rest. Dice: at the best threshold. "
        "Cleaned: smoothing, hysteresis, opening, holes filled, small objects removed, the best of 180 ways on all "
        "bands. Other bands: each band by the way that is best on the other three. The declared rule: the recipe with "
        "the best Dice cleaned on other bands is chosen; its figures on the right half are the study's result. The "
        "recipe with the best AUC is judged on the right half as well: a second look, for comparison. Of ten "
        "mitochondria both rules are weak and need not agree; taking the better of two looks would be a choice on the "
        "right half. Seconds: of processor time, what recipes share counted where it is first computed.",
        "",
        *table(LEFT, [_recipe(name, row) for name, row in record["recipes"].items()]),
    ]
    for item in record["final"]:
        lines += _final(item)
    return "\n".join(lines) + "\n"


def _course(name: str, row: Mapping[str, Any]) -> list[str]:
    keys = ("AUC seen", "AUC left", "AUC right", "Dice right", "Dice right at 0.5", "MAE right")
    return [name, str(row["features"]), *(f"{row[key]:.3f}" for key in keys)]


def _recipe(name: str, row: Mapping[str, Any]) -> list[str]:
    dice_of = (f"{row[key]:.3f}" for key in ("Dice left", "cleaned", "honest"))
    return [name, f"{row['AUC left']:.4f}", *dice_of, f"{row['seconds']:.0f}"]


def _final(item: Mapping[str, Any]) -> list[str]:
    """A recipe on the right half; the chosen one first says that it is the result."""
    how = Cleaning(*item["cleaning"])
    chosen = item["by"].startswith("Dice")
    reached = all(item["figures"][name] >= aim for name, aim in AIMS.items())
    aims = "both aims reached" if reached else "**not all aims reached**"
    said = {
        name: f">= {aim:g}: {'reached' if item['figures'][name] >= aim else '**not reached**'}"
        for name, aim in AIMS.items()
    }
    return [
        "",
        f"## {'Result' if chosen else 'A second look'} on the right half: {item['recipe']}",
        "",
        f"{'Chosen by the declared rule' if chosen else 'The best AUC on the left half; not the choice'}; {aims}. "
        f"Cleaned: smoothed by {how.sigma:g}, hysteresis {how.low:g} / {how.high:g}, opened by {how.radius}, holes "
        f"filled, objects of {how.least} pixels and more.",
        "",
        *table(
            ("figure", "right half", "aim"),
            [(name, f"{value:.4f}", said.get(name, "")) for name, value in item["figures"].items()],
        ),
    ]


def _runs(record: Mapping[str, Any]) -> str:
    """Whether one run computed all."""
    runs = record.get("runs", 0)
    if runs == 1:
        return f"all in one run of {record['seconds']:.0f} s with one thread"
    return f"put together from {runs or 'several'} runs, what an earlier one had finished was taken from it"

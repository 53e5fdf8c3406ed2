"""Training for `bigseg train`, and printing what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table as Printed

from bigseg.cli.console import console
from bigseg.errors import UsageError
from bigseg.learn.training import Trained, neighbourhood_kernel
from bigseg.pipeline.steps import load_yaml
from bigseg.report.wording import number

SAID = {
    "folds": "blocks left out in turn",
    "validation": "the validation region: what was chosen was chosen there",
    "test": "the test region: nothing was chosen there",
}


def parameters_of(
    features: str | None, estimator: str | None, kind: str | None, regions: Sequence[str], changes: Sequence[str]
) -> dict[str, Any]:
    """Parameters of the train step from the options.

    >>> parameters_of("{gaussian: [1, 2]}", None, None, ["test=:,5:"], ["parameters.max_depth=3"])
    {'features': {'gaussian': [1, 2]}, 'regions': {'test': [':,5:']}, 'parameters': {'max_depth': 3}}
    """
    found: dict[str, Any] = {}
    if features is not None:
        found["features"] = load_yaml(features, "--features")
    found |= {key: item for key, item in (("estimator", estimator), ("kind", kind)) if item is not None}
    for text in regions:
        part, equals, roi = text.partition("=")
        if not equals:
            raise UsageError(f"--region {text}: expected train, validation or test and a box, as in test=:,:,512:")
        found.setdefault("regions", {}).setdefault(part.strip(), []).append(roi)
    for text in changes:
        name, equals, value = text.partition("=")
        key, dot, inner = name.strip().partition(".")
        if not equals or not key:
            raise UsageError(f"--set {text}: expected KEY=VALUE, as in balanced=true or parameters.max_depth=12")
        item = load_yaml(value, f"--set {text}")
        if dot:
            held = found.setdefault(key, {})
            if not isinstance(held, dict):
                raise UsageError(f"--set {text}: {key} is {held!r}, which has no {inner}")
            held[inner] = item
        else:
            found[key] = item
    return found


def training_facts(trained: Trained) -> dict[str, Any]:
    """What came out, as a document."""
    model = trained.model
    found: dict[str, Any] = {
        "task": model.task,
        "estimator": model.estimator,
        "features": list(model.names),
        "classes": [vars(item) for item in model.classes],
        "training": [vars(item) for item in model.training],
        "figures": dict(trained.figures),
        "threshold": trained.threshold,
    }
    kernel = neighbourhood_kernel(model)
    if kernel is not None:
        found["kernel"], found["offset"] = kernel[0].tolist(), kernel[1]
    return found


def trained_tables(trained: Trained, out: Path) -> None:
    """Print the classes, and every figure with the region that it comes from."""
    model, show = trained.model, console()
    known = trained.figures["train"]
    show.print(
        f"{out}: {model.estimator.rpartition('.')[2]} of {len(model.names)} features, {known['voxels']:,} voxels"
    )
    for item in model.classes:
        count = known.get("classes", {}).get(str(item.value), 0)
        show.print(f"  class {item.value}  {item.name}  {count:,} voxels")
    for part, said in SAID.items():
        if part in trained.figures:
            _figures(f"\non {said}", trained.figures[part])
    if set(trained.figures) == {"train"}:
        show.print("\nno figures: what a model was trained on says nothing of it; give --region test=…, or folds")
    if trained.threshold is not None:
        where = "the validation region" if "validation" in trained.figures else "the blocks left out"
        show.print(f"\nthreshold {number(trained.threshold)}: best Dice on {where}")
    kernel = neighbourhood_kernel(model)
    if kernel is not None:
        show.print("\nweights of the neighbourhood:")
        show.print(str(kernel[0].round(4)), f"\noffset {number(kernel[1])}", sep="")


def _figures(title: str, figures: Mapping[str, Any]) -> None:
    shown = Printed(box=None, show_header=False, padding=(0, 1), pad_edge=False)
    shown.add_column("", no_wrap=True)
    shown.add_column("", justify="right", no_wrap=True)
    for name, value in figures.items():
        if not isinstance(value, (list, dict)):
            shown.add_row(name.replace("_", " "), number(value))
    console().print(title)
    console().print(shown)

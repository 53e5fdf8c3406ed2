"""Every row of the exactness table, by family. A new family is a module here and a line below."""

from __future__ import annotations

from tests.ops.cases import (
    background,
    combine,
    components,
    edges,
    evaluate,
    growing,
    intensity,
    learning,
    levels,
    local_thresholds,
    morphology,
    predicates,
    rank,
    regions,
    relations,
    restoration,
    smoothing,
    split,
    thresholds,
)
from tests.ops.rows import Case

FAMILIES: dict[str, list[Case]] = {
    "smoothing": smoothing.CASES,
    "rank": rank.CASES,
    "morphology": morphology.CASES,
    "thresholds": thresholds.CASES,
    "local_thresholds": local_thresholds.CASES,
    "restoration": restoration.CASES,
    "components": components.CASES,
    "edges": edges.CASES,
    "predicates": predicates.CASES,
    "combine": combine.CASES,
    "intensity": intensity.CASES,
    "background": background.CASES,
    "levels": levels.CASES,
    "growing": growing.CASES,
    "split": split.CASES,
    "evaluate": evaluate.CASES,
    "relations": relations.CASES,
    "regions": regions.CASES,
    "learning": learning.CASES,
}

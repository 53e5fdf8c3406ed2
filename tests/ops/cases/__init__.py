"""Every row of the exactness table, by family. A new family is a module here and a line below."""

from __future__ import annotations

from tests.ops.cases import components, smoothing, thresholds
from tests.ops.rows import Case

FAMILIES: dict[str, list[Case]] = {
    "smoothing": smoothing.CASES,
    "thresholds": thresholds.CASES,
    "components": components.CASES,
}

"""Detection: objects as boxes with scores, best first, as JSON, CSV and a table."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from pydantic import Field as Parameter

from bigseg.engine.field import Array, Field, Reduction, Values, Workspace
from bigseg.errors import PipelineError, ValuesError
from bigseg.grid import Grid
from bigseg.local.expression import MOST_CHARACTERS, Expression, references
from bigseg.local.formula import evaluate
from bigseg.ops.base import Number, Site, value_of
from bigseg.ops.components.columns import also_named, notes_of
from bigseg.ops.components.conditions import bound_numbers, read_expression, second_columns
from bigseg.ops.keyed import TableOp
from bigseg.ops.objects import names_of, refuse_masks
from bigseg.ops.regions import measured_table
from bigseg.storage.durable import write_file
from bigseg.storage.partitions import batches
from bigseg.storage.spec import Spec
from bigseg.storage.tables import write_table

BATCH = 1 << 16
"""Rows of the objects' table that are looked at together."""
MOST = 1_000_000
Columns = dict[str, Array]


@dataclass(frozen=True)
class FindBest:
    """The best objects of a table, written as JSON, CSV and Parquet. Holds ``top_k`` rows and a batch of the table."""

    name: str
    table: str
    spec: Spec
    score: Expression
    least: float | str | None
    top_k: int
    numbers: tuple[tuple[str, float], ...] = ()

    def units(self, grid: Grid) -> int:
        """One task."""
        return 1

    def memory(self, grid: Grid) -> int:
        """Rows of about 24 columns, three times while they are sorted, and a kilobyte of JSON each."""
        return (64 << 20) + 3 * 8 * 24 * BATCH + self.top_k * 1600

    def bind(self, values: Values) -> FindBest:
        """With computed numbers."""
        return replace(self, least=value_of(self.least, values), numbers=bound_numbers(self.score, values))

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Read batch after batch, keep the best, write."""
        best: Columns = {}
        objects = enough = 0
        folder = space.folder / "tables"
        for part in batches(folder / f"{self.table}.parquet", BATCH):
            objects += len(part["label"])
            scored = self._scored(part)
            if self.least is not None:
                kept = scored["score"] >= float(self.least)
                scored = {name: column[kept] for name, column in scored.items()}
            enough += len(scored["label"])
            best = self._best(
                {name: np.concatenate([best.get(name, column[:0]), column]) for name, column in scored.items()}
            )
        best = best or self._scored(self._no_rows())
        write_table(folder / f"{self.name}.parquet", best, notes_of(self.spec))
        table = io.StringIO()
        import pandas as pd  # which takes half a second to load

        pd.DataFrame(best).to_csv(table, index=False, lineterminator="\n")
        write_file(folder / f"{self.name}.csv", table.getvalue().encode())
        write_file(folder / f"{self.name}.json", "".join(self._json(best, enough)).encode())
        return {
            "detections": len(best["label"]),
            "left_out": enough - len(best["label"]),
            "objects": objects,
            "json": f"tables/{self.name}.json",
            "csv": f"tables/{self.name}.csv",
        }

    def _no_rows(self) -> Columns:
        """The columns of a table without objects."""
        names = ("num_pixels", *(f"bbox-{axis}" for axis in range(2 * self.spec.ndim)))
        floats = ("area", *(f"centroid-{axis}" for axis in range(self.spec.ndim)))
        found = {name: np.zeros(0, bool if name == "touches_edge" else float) for name in (*floats, *self.score.names)}
        return found | {"label": np.zeros(0, np.uint32)} | {name: np.zeros(0, np.int64) for name in names}

    def _scored(self, part: Columns) -> Columns:
        """The columns of detections, the score among them.

        Raises
        ------
        ValuesError
            When a score is no finite number.
        """
        spec, ndim = self.spec, self.spec.ndim
        score = np.asarray(evaluate(self.score, {**also_named(part), **dict(self.numbers)}, np.float64), np.float64)
        wrong = np.flatnonzero(~np.isfinite(score))
        if wrong.size:
            raise ValuesError(
                f"step {self.name!r}: score {self.score.text!r:.100} is {score[wrong[0]]} for label "
                f"{part['label'][wrong[0]]}: expected finite numbers; guard divisions and roots, as in "
                "where(b != 0, a / b, 0)"
            )
        found = {"label": part["label"], "score": score + 0.0, "num_pixels": part["num_pixels"], "area": part["area"]}
        found |= {f"bbox-{axis}": part[f"bbox-{axis}"] for axis in range(2 * ndim)}
        for axis in range(2 * ndim):
            step, origin = spec.spacing[axis % ndim], spec.origin[axis % ndim]
            found[f"bbox_physical-{axis}"] = (part[f"bbox-{axis}"] - 0.5) * step + origin
        return found | {f"centroid-{axis}": part[f"centroid-{axis}"] for axis in range(ndim)}

    def _best(self, rows: Columns) -> Columns:
        """The first ``top_k`` by falling score, then rising label."""
        order = np.lexsort((rows["label"], -rows["score"]))[: self.top_k]
        return {name: column[order] for name, column in rows.items()}

    def _json(self, rows: Columns, enough: int) -> Iterator[str]:
        """COCO's layout: lists run x, y, z, boxes are corner and size, so that 2-D files are COCO files."""
        spec, ndim = self.spec, self.spec.ndim
        backwards = range(ndim - 1, -1, -1)
        sides = dict(zip(("width", "height", "depth"), reversed(spec.shape), strict=False))
        image = {
            "id": 1,
            **sides,
            "axes": list(reversed(spec.axes)),
            "spacing": list(reversed(spec.spacing)),
            "origin": list(reversed(spec.origin)),
            "unit": spec.unit,
        }
        info = {"description": f"objects of step {self.name}", "score": self.score.text, "objects": enough}
        head = {"info": info, "images": [image], "categories": [{"id": 1, "name": "object"}]}
        yield json.dumps(head)[:-1] + ', "annotations": [\n'
        low, high = ([rows[f"bbox-{axis + shift}"] for axis in backwards] for shift in (0, ndim))
        size = [b - a for a, b in zip(low, high, strict=True)]
        start = [rows[f"bbox_physical-{axis}"] for axis in backwards]
        extent = [n * spec.spacing[axis] for n, axis in zip(size, backwards, strict=True)]
        columns = (
            rows["label"],
            np.stack([*low, *size], axis=1),
            np.stack([*start, *extent], axis=1),
            np.stack([rows[f"centroid-{axis}"] for axis in backwards], axis=1),
            rows["num_pixels"],
            rows["area"],
            rows["score"],
        )
        names = ("label", "bbox", "bbox_physical", "centroid", "num_pixels", "area", "score")
        last = len(rows["label"]) - 1
        for number, row in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
            found = {"id": row[0], "image_id": 1, "category_id": 1, **dict(zip(names, row, strict=True))}
            yield json.dumps(found) + (",\n" if number < last else "\n")
        yield "]}\n"


class Detect(TableOp):
    """Object detection: boxes and scores of the objects, best first, as JSON, CSV and a table.

    ``score`` is a column of the objects' table or an expression on them, as of ``select``; by default intensity_mean
    where there is one ``intensity``, else num_pixels. Kept are scores of at least ``min_score``, of these the
    ``top_k`` highest; of equal ones the smaller label comes first. In the run's folder: tables/NAME.json (COCO's
    layout: images with width, height, depth, spacing; annotations with label, bbox in voxels and bbox_physical as
    corner and size, centroid, num_pixels, area, score; lists run x, y, z), tables/NAME.csv and tables/NAME.parquet
    (axes in the volume's order, boxes as first and last-plus-one; the physical box reaches from edge to edge of its
    voxels). Gives ``detections``, ``left_out`` (beyond top_k), ``objects``, ``json`` and ``csv``; the objects' own
    table is kept as NAME.objects. Cost: that of ``regions``, 1 us an object, and 0.15 ms
    for each detection that is written.

    >>> import numpy as np, bigseg
    >>> found = bigseg.detect(np.array([[1, 0, 2, 2]], "uint8"))
    >>> found[["label", "score", "bbox-1", "bbox-3"]].values.tolist()
    [[2.0, 2.0, 2.0, 4.0], [1.0, 1.0, 0.0, 1.0]]
    """

    op: ClassVar[str] = "detect"
    oracle: ClassVar[str] = "skimage.measure.regionprops_table, sorted, exactly (means within 1e-9)"
    example: ClassVar[str] = "{id: boxes, op: detect, from: grains, intensity: input, min_score: 120, top_k: 5000}"
    refers: ClassVar[tuple[str, ...]] = ("intensity",)

    intensity: str | tuple[str, ...] | None = Parameter(
        None, description="the input or step (or a list) whose values the intensity columns are of"
    )
    score: str | None = Parameter(
        None,
        min_length=1,
        max_length=MOST_CHARACTERS,
        description='a column or an expression, as "intensity_mean * extent"',
    )
    min_score: Number | None = Parameter(None, description="least score of a detection; default: any")
    top_k: int = Parameter(100_000, ge=1, le=MOST, description="detections at most, those with the highest scores")

    def references(self) -> Iterator[tuple[str, str, str]]:
        """Those within the score, and the least score."""
        for step, key in references(self.score or ""):
            yield "score", step, key
        for place, step, key in super().references():
            if place == "min_score":
                yield place, step, key

    def build(self, inputs: Sequence[Field], site: Site) -> Reduction:
        """The best rows of the table of a known set of objects, or of the labels of a file."""
        (field,) = inputs
        refuse_masks(field, site, self.op)
        names, spec = names_of(self.intensity), field.spec
        score = self._expression(spec, tuple("" if len(names) == 1 else f"-{name}" for name in names), site)
        table = f"{site.name}.objects"
        axes = bool(second_columns(spec.ndim).keys() & set(score.names))
        written = measured_table(field, site, table, names, axes)
        find = FindBest(site.name, table, spec, score, self.min_score, self.top_k)
        keys = ("detections", "left_out", "objects", "json", "csv")
        return Reduction(site.name, (written,), find, list(site.after(self)), keys)

    def _expression(self, spec: Spec, tails: tuple[str, ...], site: Site) -> Expression:
        """The score, read and found to be numbers on columns that there are."""
        text = self.score or ("intensity_mean" if tails == ("",) else "num_pixels")
        asked, _ = read_expression(text, spec, tails, site)
        if not asked.names:
            raise PipelineError(
                f"step {site.name!r}: score {text!r:.100}: expected a column, as intensity_mean, or an expression"
            )
        return asked

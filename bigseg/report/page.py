"""The report of a run: one page that holds everything it shows, made from the run's folder and record alone.

Each part is made on its own. What cannot be made (the input is gone, a table is damaged) is replaced by a
sentence that says why, so that a report never fails a run.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from bigseg.report import wording
from bigseg.report.charts import Chart, histogram_chart, size_chart
from bigseg.report.clusters import clusterings
from bigseg.report.measures import measure_table
from bigseg.report.objects import Objects, objects_of
from bigseg.report.quality import quality_of
from bigseg.report.recipe import chain, recipe_lines
from bigseg.report.stages import account_of, memory_of
from bigseg.report.thresholds import Distribution, distributions
from bigseg.report.views import three_views
from bigseg.storage.durable import write_file
from bigseg.storage.faultpoints import point

NAME = "report.html"


def write_report(folder: Path, record: Mapping[str, Any], status: str = "complete") -> Path:
    """Write ``report.html`` into a run's folder.

    Parameters
    ----------
    folder : of the run, with its volumes and tables.
    record : content of its run.json.
    status : shown on the page; the record of a run that is just ending still says ``incomplete``. A run that
        has not come to its end is never shown as complete.

    Returns
    -------
    The page's path.

    Raises
    ------
    StorageError
        When the page cannot be written; nothing else about the run makes it fail.

    Notes
    -----
    Reads a few planes from the pyramids and streams the tables: memory and time do not grow with the volume.
    """
    page = Path(folder) / NAME
    point("report.begin")
    text = render(Path(folder), record, status).encode("utf-8", "replace")
    point("report.rendered")
    write_file(page, text)
    return page


def render(folder: Path, record: Mapping[str, Any], status: str = "complete") -> str:
    """The report as HTML."""
    environment = Environment(
        loader=PackageLoader("bigseg.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"png": _data_uri, "number": wording.number, "count": lambda n: f"{n:,}"}
    objects, objects_note = _part(lambda: [_objects(item) for item in objects_of(folder, record)], [])
    counted, counted_note = _part(lambda: [_counted(item) for item in distributions(folder, record)], [])
    quality, quality_note = _part(lambda: quality_of(folder, record), [])
    clusters, clusters_note = _part(lambda: clusterings(folder, record), [])
    (views, view_notes), views_note = _part(lambda: three_views(folder, record), ([], []))
    stages, stages_note = _part(lambda: account_of(record), None)
    lines, lines_note = _part(lambda: recipe_lines(record["pipeline"], record.get("values", {})), [])
    facts, _ = _part(lambda: _facts(record, objects), [])
    origin, _ = _part(lambda: _origin(folder, record), [])
    if status == "complete" and (record.get("status") == "failed" or "ended" not in record):
        status = str(record.get("status", "incomplete"))
    return environment.get_template("report.html.j2").render(
        name=Path(folder).resolve().name,
        parent=Path(folder).resolve().parent.name,
        status=status,
        error=str(record.get("error", "")) if status == "failed" else "",
        chain=_part(lambda: chain(record["pipeline"]), "")[0],
        inputs=[str(path) for path in record.get("inputs", {}).values()],
        began=wording.when(str(record.get("began", ""))),
        facts=facts,
        views=views,
        view_notes=[*view_notes, *views_note],
        objects=objects,
        objects_notes=objects_note,
        counted=counted,
        counted_notes=counted_note,
        clusters=clusters,
        clusters_notes=clusters_note,
        quality=quality,
        quality_notes=quality_note,
        lines=lines,
        lines_notes=lines_note,
        stages=stages,
        stages_notes=stages_note,
        stored=record.get("stored", []),
        origin=origin,
        versions=record.get("versions", {}),
    )


def _part(make: Callable[[], Any], otherwise: Any) -> tuple[Any, list[str]]:
    """A part of the page, or what stands in its place and why."""
    try:
        return make(), []
    except Exception as error:  # whatever is wrong with a table or a volume, the page is still worth having
        return otherwise, [f"This part could not be made: {type(error).__name__}: {error}"]


def _facts(record: Mapping[str, Any], objects: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """The figures at the top: what, how much, and a line below."""
    volume = record["volume"]
    shape, spacing, unit = volume["shape"], volume["spacing"], volume.get("unit") or ""
    extent = wording.by([float(f"{n * s:.4g}") for n, s in zip(shape, spacing, strict=True)])
    below = f"{wording.voxels(prod(shape), len(shape))}, {volume['dtype']}"
    found = [("volume" if len(shape) == 3 else "image", wording.by(shape), below)]
    if unit:
        voxel = wording.by(sorted(set(spacing))) if len(set(spacing)) == 1 else wording.by(spacing)
        found.append(("size", f"{extent} {wording.unit(unit)}", f"voxel {voxel} {wording.unit(unit)}"))
    if objects:
        item = objects[0]
        found.append(
            (
                "objects",
                f"{item['found'].number:,}",
                f"{item['share']} of the {'volume' if len(shape) == 3 else 'image'}",
            )
        )
    if "seconds" in record:
        found.append(("time", wording.seconds(record["seconds"]), str(record.get("where", ""))))
    used, planned = memory_of(record)
    if used:
        found.append(("memory a worker", wording.size(used), f"{wording.size(planned)} planned"))
    return found


def _objects(found: Objects) -> dict[str, Any]:
    """One table of objects: figures, chart, the largest rows."""
    cubed = wording.unit(found.unit, found.ndim)
    what = wording.cell(found.ndim)
    share = f"{wording.number(100 * found.total / found.voxels, 3)} %"
    item: dict[str, Any] = {"found": found, "share": share, "chart": None, "facts": [], "table": None}
    if not found.number:
        return item

    def fact(name: str, count: float) -> tuple[str, str, str]:
        if not cubed:
            return name, wording.number(count), what
        physical = f"{wording.number(count * found.voxel)} {cubed}"
        return name, physical, f"{wording.number(count)} {what}"

    item["facts"] = [
        ("number", f"{found.number:,}", "objects"),
        (*fact("total", found.total)[:2], f"{share} of the {'volume' if found.ndim == 3 else 'image'}"),
        fact("median", found.median),
        fact("largest", found.largest),
    ]
    label = f"size in {cubed}" if cubed else f"size in {what}"
    item["chart"] = size_chart(found.sizes, found.counts, found.voxel if cubed else 1.0, label)
    item["table"] = measure_table(found)
    return item


def _counted(found: Distribution) -> dict[str, Any]:
    """One histogram: chart, thresholds with the share of voxels below, other values."""
    chart: Chart = histogram_chart(found.values, found.counts, found.lines, f"grey value of {found.source}")
    lines = [
        (line.name, wording.number(line.value), f"{100 * found.share_below(line.value):.2f} %", line.used)
        for line in found.lines
    ]
    statistics = [(key, wording.number(value)) for key, value in found.statistics]
    return {"found": found, "chart": chart, "lines": lines, "statistics": statistics}


def _origin(folder: Path, record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where the run came from and how it was computed."""
    starts = int(record.get("starts", 1))
    resumed = "never interrupted" if starts == 1 else f"resumed {starts - 1} times" if starts > 2 else "resumed once"
    block = wording.by(record["block"])
    found = [(f"input {name}" if name != "input" else "input", str(path)) for name, path in record["inputs"].items()]
    found += [(f"part of {name}", _part_words(part)) for name, part in record.get("parts", {}).items()]
    found += [
        ("folder", str(Path(folder).resolve())),
        ("where", f"{record.get('where', 'unknown')}"),
        ("workers", f"{record['workers']}, {wording.size(record['memory_a_worker'])} each"),
        ("blocks", f"{record['blocks']:,} of {block} {wording.cell(len(record['block']))}"),
        ("began", wording.when(str(record.get("began", "")))),
        ("ended", wording.when(str(record.get("ended", "")))),
        ("starts", f"{starts}, {resumed}"),
        ("fingerprint", str(record.get("fingerprint", ""))),
    ]
    return found


def _part_words(part: Mapping[str, Any]) -> str:
    """What a run chose of an input, in words."""
    words = {"channel": "channel", "level": "level", "roi": "voxels"}
    found = [f"{word} {part[key]}" for key, word in words.items() if key in part]
    if "resample" in part:
        how = part["resample"]
        smooth = ", smoothed first" if how.get("anti_alias") else ""
        found.append(f"resampled to voxels of {wording.by(how['spacing'])}, {how['interpolation']}{smooth}")
    return "; ".join(found)


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"

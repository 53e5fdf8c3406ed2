"""Ingest: any readable file as a sharded OME-Zarr image with a pyramid, by the same engine, resumable."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bigseg.engine.field import Write
from bigseg.engine.folder import RunFolder
from bigseg.engine.plan import Plan, make_plan
from bigseg.engine.run import Observer
from bigseg.engine.source import source_field
from bigseg.engine.work import Limits
from bigseg.errors import OutputError
from bigseg.grid import Grid, Shape
from bigseg.pipeline.build import Built
from bigseg.pipeline.planning import plan_for
from bigseg.pipeline.running import Prepared, Settings, choose_executor, run_prepared
from bigseg.storage.chunks import check_source
from bigseg.storage.sources.opening import Origin, open_source
from bigseg.storage.volume import Volume


def ingest(
    source: str | Path | Origin,
    target: str | Path,
    *,
    spacing: Sequence[float | str] | str | None = None,
    observe: Observer = lambda summary, done, units: None,
    **settings: Any,
) -> Volume:
    """Store a TIFF, a stack of TIFFs, an NPY or a Zarr as an OME-Zarr 0.5 image with a pyramid.

    Parameters
    ----------
    source : path of the file, folder or glob, or an opened source.
    target : the image to make, by custom ``NAME.ome.zarr``.
    spacing : voxel size, ``"0.65 um"`` or one per axis; default: what the file says.
    settings : as of `Pipeline.run`.

    Returns
    -------
    The finished image.

    Raises
    ------
    OutputError
        When the target exists and is not an ingest that was stopped.
    InputError
        When the source cannot be read as a volume.
    """
    path = Path(os.path.abspath(target))
    chosen = Settings(**settings, report=False)
    work = RunFolder(path.with_name(f".{path.name}.ingest"))
    if chosen.restart:
        shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(work.path, ignore_errors=True)
    if path.exists() and not work.path.exists():
        raise OutputError(f"{path} exists already: give another name, or remove it first")
    origin = open_source(source, spacing=spacing) if isinstance(source, (str, Path)) else source
    if isinstance(origin, Volume):
        check_source(origin)
    field = source_field(path.name.removesuffix(".zarr").removesuffix(".ome"), origin)
    write = Write(field, str(path), "the image asked for")
    built = Built({"input": field}, {}, [write], [])
    resources, start = choose_executor(chosen)

    def make(block: Shape, brick: Shape, limits: Limits) -> Plan:
        return make_plan(
            [write], [], grid=Grid(field.spec.shape, block), folder=work.path, limits=limits, brick=brick
        )

    plan = plan_for(make, field.spec.shape, resources, chosen.block or work.block())
    prepared = Prepared(built, {"input": origin}, plan, work, resources, chosen)
    described = {"ingest": str(path), "spacing": list(field.spec.spacing), "unit": field.spec.unit}
    run_prepared(described, prepared, start, observe)
    shutil.rmtree(work.path, ignore_errors=True)
    return Volume.open(path)

"""Ingest: any readable file as a sharded OME-Zarr image with a pyramid, by the same engine, resumable.

While it is on, the record of finished blocks lies beside the image in a folder ``.NAME.ingest``, and the image
is marked as incomplete. The finished image remembers what it was made from, so that the same command finds
that there is nothing left to do.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bigseg.engine.field import Write
from bigseg.engine.folder import RunFolder, differences, ingest_folder
from bigseg.engine.lock import Lock
from bigseg.engine.plan import make_plan
from bigseg.engine.resampled import Resampling
from bigseg.engine.run import Observer
from bigseg.engine.source import chosen, identity, place, source_field, stored
from bigseg.engine.stage import Plan
from bigseg.engine.work import Limits
from bigseg.errors import ChangedError, LockedError, OutputError, StorageError
from bigseg.grid import Grid, Shape
from bigseg.pipeline.apart import lies_in, refuse_shared
from bigseg.pipeline.arrays import array_origin, here
from bigseg.pipeline.build import Built
from bigseg.pipeline.geometry import Input, open_inputs
from bigseg.pipeline.planning import plan_for
from bigseg.pipeline.prepared import Prepared, Settings, Start, choose_executor
from bigseg.pipeline.record import describe_existing
from bigseg.pipeline.running import run_prepared
from bigseg.storage import blocks
from bigseg.storage.chunks import check_source
from bigseg.storage.durable import clear_temporary, found_at
from bigseg.storage.layout import read_node
from bigseg.storage.roi import Roi
from bigseg.storage.sources.opening import Origin, open_source, with_spacing
from bigseg.storage.volume import Volume


@dataclass(frozen=True)
class Ingest:
    """An ingest that was checked and can be run.

    Parameters
    ----------
    path : of the image.
    plan : what will run.
    found : in one line, what lies there already.
    """

    path: Path
    plan: Plan
    found: str
    prepared: Prepared | None
    """None where the finished image is there."""
    start: Start

    def run(self, observe: Observer = lambda summary, done, units: None) -> Volume:
        """Store the image, or what is left of it."""
        if self.prepared is not None:
            spec = next(iter(self.prepared.origins.values())).spec
            described = {"ingest": self.path.name, "spacing": list(spec.spacing), "unit": spec.unit}
            run_prepared(described, self.prepared, self.start, observe)
            shutil.rmtree(self.prepared.folder.path, ignore_errors=True)
        else:
            _tidy(self.path)
        return Volume.open(self.path)


def ingest(
    source: Input,
    target: str | Path,
    *,
    spacing: float | str | Sequence[float | str] | None = None,
    roi: Roi | None = None,
    resample: Resampling | None = None,
    observe: Observer = lambda summary, done, units: None,
    **settings: Any,
) -> Volume:
    """Store a TIFF, a stack of slices, an NPY or a Zarr as an OME-Zarr 0.5 image with a pyramid.

    Parameters
    ----------
    source : path of the file, folder or pattern, an opened source, or an array.
    target : the image to make, by custom ``NAME.ome.zarr``.
    spacing : voxel size, ``"0.65 um"`` or one per axis; default: what the file says.
    roi : the part that is stored, as of `Pipeline.run`.
    resample : the voxel size that is stored, interpolated from the file's, as of `Pipeline.run`.
    settings : as of `Pipeline.run`.

    Returns
    -------
    The finished image.

    Raises
    ------
    OutputError
        When the target exists and is not an ingest of the same source.
    InputError
        When the source cannot be read as a volume.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "scan.npy", np.zeros((9, 10, 11), "uint8"))
    >>> image = ingest(folder / "scan.npy", folder / "scan.ome.zarr", spacing="2 um", workers=0)
    >>> image.spec.shape, image.spec.unit
    ((9, 10, 11), 'micrometer')
    """
    given = None if spacing is None or isinstance(spacing, (int, float, str)) else list(spacing)
    origin = open_source(source) if isinstance(source, (str, Path)) else array_origin(source)
    part = open_inputs(with_spacing(origin, given or spacing), roi, resample)["input"]  # type: ignore[arg-type]
    return prepare_ingest(part, target, here([part], Settings.of(settings | {"report": False}))).run(observe)


def prepare_ingest(origin: Origin, target: str | Path, settings: Settings) -> Ingest:
    """All that can be refused before the first voxel is read."""
    path = Path(os.path.abspath(target))
    work = RunFolder(ingest_folder(path))
    below, box = stored(origin)
    refuse_shared([place(below)], [path, work.path])
    if isinstance(below, Volume):
        if lies_in(path, below.path):
            raise OutputError(f"{path} lies in the input {below.path}: give a place outside of it")
        check_source(below, box)
    source = {"content": identity(below), "spacing": list(origin.spec.spacing), "unit": origin.spec.unit}
    source |= chosen(origin)
    there = found_at(path) is not None
    ours = _ours(path) if there else {}
    finished = ours.get("status") == "complete" and ours.get("source") == source and not settings.restart
    if not there:
        _forget(path, work)
    elif not finished:
        _refuse_foreign(path, ours, source, work, settings.restart)
    field = source_field(path.name.removesuffix(".zarr").removesuffix(".ome"), origin)
    write = Write(field, str(path), "the image asked for", attributes={"source": source})
    resources, start = choose_executor(settings)

    def make(block: Shape, brick: Shape, limits: Limits) -> Plan:
        return make_plan([write], [], grid=Grid(field.spec.shape, block), folder=work.path, limits=limits, brick=brick)

    block = settings.block or (None if settings.restart else work.block(field.spec.ndim))
    plan = plan_for(make, field.spec.shape, resources, block)
    if finished:
        return Ingest(path, plan, "finished already: nothing to do", None, start)
    if settings.restart:
        _clear(path, work)
    prepared = Prepared(
        Built({"input": field}, {}, [write], []),
        {"input": origin},
        plan,
        work,
        resources,
        replace(settings, report=False),
    )
    return Ingest(path, plan, describe_existing(prepared).replace("run", "ingest"), prepared, start)


def _ours(path: Path) -> dict[str, Any]:
    """What bigseg keeps with an image that it made; empty for anything else."""
    node = read_node(path) if path.is_dir() else None
    found = node.attributes.get("bigseg") if node is not None else None
    return found if isinstance(found, dict) else {}


def _refuse_foreign(path: Path, ours: dict[str, Any], source: dict[str, Any], work: RunFolder, restart: bool) -> None:
    """Refuse a target that this ingest neither began nor may replace."""
    if "source" not in ours:
        raise OutputError(f"{path} exists already and was not made by `bigseg ingest`: give another name")
    if restart:
        return
    if ours["source"] != source:
        changed = "\n  ".join(differences(ours["source"], source))
        raise ChangedError(
            f"{path} was made from something else:\n  {changed}\ngive another name, or begin again with --restart"
        )
    if work.read() is None:
        raise OutputError(f"{path} is unfinished and its record {work.path} is gone: begin again with --restart")


def _forget(path: Path, work: RunFolder) -> None:
    """Remove the record of a finished ingest whose image is gone: this one would be taken for finished, or refused."""
    if (work.read() or {}).get("status") == "complete":
        with Lock(work.lock):
            if not path.exists():  # nor has another driver made it meanwhile
                shutil.rmtree(work.path, ignore_errors=True)


def _tidy(path: Path) -> None:
    """Remove what is left of an ingest that was killed after its image was complete."""
    work = RunFolder(ingest_folder(path))
    if not work.path.exists():
        return
    with suppress(LockedError, StorageError), Lock(work.lock):  # its own driver is about to, or the folder is read-only
        clear_temporary(path)
        for level in range(Volume.open(path).levels):
            blocks.clear_partial(Volume.open(path, level))
        shutil.rmtree(work.path, ignore_errors=True)


def _clear(path: Path, work: RunFolder) -> None:
    """Remove an image that an ingest made, and its record."""
    if path.exists() or work.path.exists():
        with Lock(work.lock):
            shutil.rmtree(path, ignore_errors=True)
            shutil.rmtree(work.path, ignore_errors=True)

"""Running a prepared pipeline in its folder: lock, journal, stages, record, report, in this order."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bigseg.engine.damage import Found, metadata_of
from bigseg.engine.field import Field, Reduction, Values
from bigseg.engine.folder import RunFolder, check_same, fingerprint, remove, versions
from bigseg.engine.journal import Journal, tally
from bigseg.engine.lock import Lock, holder
from bigseg.engine.plan import Plan
from bigseg.engine.run import Executor, Observer, Summary, driver_memory, execute, to_write
from bigseg.engine.serial import SerialExecutor
from bigseg.engine.source import chosen, identity, place, stored
from bigseg.errors import LockedError, StorageError
from bigseg.ops.base import Told
from bigseg.ops.components.volume import Seen
from bigseg.pipeline.build import Built
from bigseg.pipeline.kept import Kept, keep
from bigseg.pipeline.planning import Resources, local_resources
from bigseg.storage import blocks
from bigseg.storage.create import restore_metadata
from bigseg.storage.durable import clear_temporary, write_file
from bigseg.storage.faultpoints import point
from bigseg.storage.pyramid import levels_of
from bigseg.storage.sources.opening import Origin
from bigseg.storage.volume import Volume, mark_complete, mark_incomplete

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Settings:
    """How to run, as opposed to what: none of it changes a result.

    Parameters
    ----------
    block : voxels per axis computed at a time; one size or one per axis; default: the plan's choice.
    workers : processes on this machine; 0 computes in the calling process.
    memory : bytes a worker may use.
    scheduler, scheduler_file : a running Dask cluster.
    insecure : whether that may be another machine without encryption.
    restart : remove what an earlier run left in the folder.
    report : write report.html.
    """

    block: tuple[int, ...] | None = None
    workers: int | None = None
    memory: int | None = None
    scheduler: str | None = None
    scheduler_file: str | None = None
    insecure: bool = False
    restart: bool = False
    report: bool = True


@dataclass
class Prepared:
    """A pipeline joined to its inputs: the graph, and the plan for some resources."""

    built: Built
    origins: dict[str, Origin]
    plan: Plan
    folder: RunFolder
    resources: Resources
    settings: Settings
    kept: Kept | None = None
    """Components of an earlier run that this one continues from."""
    damaged: Found | None = None
    """What was found damaged in the run that lies there, and is computed again."""


@dataclass(frozen=True)
class Run:
    """A finished run: where it lies, and its record (run.json)."""

    path: Path
    record: dict[str, Any] = field(repr=False)

    @property
    def outputs(self) -> dict[str, Any]:
        """Each saved step as a lazy DataArray."""
        from bigseg.storage.lazy import open_volume

        return {name: open_volume(self.path / f"{name}.ome.zarr") for name in self.record["saved"]}

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Each table as a DataFrame."""
        import pandas as pd

        return {path.stem: pd.read_parquet(path) for path in sorted((self.path / "tables").glob("*.parquet"))}

    @property
    def values(self) -> dict[str, Any]:
        """What steps computed: thresholds, counts."""
        return dict(self.record["values"])

    @property
    def report(self) -> Path:
        """The report's file."""
        return self.path / "report.html"

    def show_report(self, height: int = 600) -> ReportFrame:
        """The report within a notebook, wherever its file lies.

        Parameters
        ----------
        height : of the frame in pixels.
        """
        return ReportFrame(self.report, height)


@dataclass(frozen=True)
class ReportFrame:
    """A report as a notebook shows it: in a frame of its own, which runs no code."""

    path: Path
    height: int = 600

    def _repr_html_(self) -> str:
        page = escape(self.path.read_text(encoding="utf-8"), quote=True)
        return f'<iframe srcdoc="{page}" sandbox width="100%" height="{self.height}" style="border: 0"></iframe>'


Start = Callable[[], Executor]


def choose_executor(settings: Settings) -> tuple[Resources, Start]:
    """Where to run, first found wins: address, file, Dask's configuration, a current Client, this machine.

    A local cluster is started only by the function given back, when everything else has been checked.
    """
    if settings.workers == 0:
        return local_resources(0, settings.memory), SerialExecutor
    from bigseg.engine.cluster import attach, local_cluster  # Dask takes half a second to load

    found = None
    if settings.scheduler or settings.scheduler_file or settings.workers is None:
        found = attach(settings.scheduler, settings.scheduler_file, settings.insecure)
    if found is not None:
        with closing(found):  # a plan that is refused must leave no client behind
            fallback = local_resources(found.workers, settings.memory)
            resources = Resources(found.workers, settings.memory or found.memory or fallback.memory)
        return resources, found.again
    resources = local_resources(settings.workers, settings.memory)
    return resources, lambda: local_cluster(resources.workers, resources.memory)


def run_prepared(pipeline: Mapping[str, Any], prepared: Prepared, start: Start, observe: Observer) -> Run:
    """Run to the end, or continue; ``complete`` is the very last thing written.

    Raises
    ------
    BigsegError
        run.json then says ``failed`` and why; finished blocks are kept for the next try.
    """
    folder, plan = prepared.folder, prepared.plan
    content = content_of(pipeline, prepared)
    if (found := _complete(prepared, content)) is not None:
        _forget_lock(folder)
        return found
    folder.probe()
    with _terminable(), Lock(folder.lock) as lock:
        if (found := _complete(prepared, content)) is not None:
            return found  # another driver finished it a moment ago
        point("run.locked")
        earlier = folder.read()
        if earlier is None:
            folder.clear()  # a driver that was killed before its first record
        check_same(folder, content)
        journal = _journal(prepared, fingerprint(content))
        record = _new_record(pipeline, prepared, content, earlier)
        try:
            folder.check_room(to_write(plan, journal))
            _begin(prepared, record, journal)
            known = prepared.kept.place(folder, prepared.built) if prepared.kept else None
            began = time.perf_counter()
            executor = start() if _left(plan, journal) else SerialExecutor()  # no cluster only to close the books
            try:
                record["where"] = executor.where
                summaries, values = execute(plan, executor, journal, lock, observe, known)
            finally:
                executor.close()
            _finish(record, prepared, summaries, values, time.perf_counter() - began)
            _close(prepared, record, journal, lock, values)
        except LockedError:
            raise  # the folder is another driver's now: nothing of it is ours to write
        except Exception as error:
            lock.check()
            with suppress(StorageError):  # on a full disk the first error is the one to show
                folder.write({**record, "status": "failed", "error": str(error)})
            raise
        finally:
            journal.close()
    return Run(folder.path, record)


def content_of(pipeline: Mapping[str, Any], prepared: Prepared) -> dict[str, Any]:
    """All that the results of a run depend on."""
    content = {
        "pipeline": dict(pipeline),
        "inputs": {name: _described(origin) for name, origin in prepared.origins.items()},
        "block": list(prepared.plan.grid.block),
        "versions": dict(versions()),
    }
    if prepared.kept is not None:
        content["components_of"] = prepared.kept.fingerprint
    return content


def _forget_lock(folder: RunFolder) -> None:
    """Remove the lock of a driver that was killed between its last write and its end."""
    if folder.lock.exists():
        with suppress(LockedError, StorageError), Lock(folder.lock):
            pass


def _journal(prepared: Prepared, name: str) -> Journal:
    """The journal, with the records of damaged blocks voided; metadata that are damaged are written anew."""
    folder, found = prepared.folder, prepared.damaged or Found()
    if any(not item.stage for item in found.damaged):
        for write in prepared.built.writes:
            restore_metadata(
                write.path,
                write.field.spec,
                prepared.plan.grid.block,
                pyramid=write.pyramid,
                attributes=write.attributes,
            )
    needs = {stage.name: stage.needs for stage in prepared.plan.stages}
    return Journal(folder.journal, name, folder.path, folder.scratch.name, needs, found.blocks)


def _complete(prepared: Prepared, content: Mapping[str, Any]) -> Run | None:
    """The finished run that lies in the folder, if it is the same and nothing of it is damaged."""
    folder = prepared.folder
    record = folder.read()
    if record is None or record["status"] != "complete" or (prepared.damaged and prepared.damaged.damaged):
        return None
    check_same(folder, content)
    return Run(folder.path, record)


def _begin(prepared: Prepared, record: Mapping[str, Any], journal: Journal) -> None:
    """Say that the run is on, and remove what killed writers left, before the first block."""
    folder = prepared.folder
    folder.write(record)
    point("run.recorded")
    write_file(folder.path / "pipeline.yaml", yaml.safe_dump(record["pipeline"], sort_keys=False).encode())
    _sweep(prepared)
    point("run.swept")
    if _left(prepared.plan, journal):
        for write in prepared.built.writes:
            mark_incomplete(write.path)


def _left(plan: Plan, journal: Journal) -> bool:
    """Whether anything is still to be computed."""
    return any(stage.name not in journal.stages for stage in plan.stages)


def _close(prepared: Prepared, record: dict[str, Any], journal: Journal, lock: Lock, values: Values) -> None:
    """Everything is computed: mark the images, report, keep or remove scratch, and last of all say so."""
    folder = prepared.folder
    lock.check()
    point("run.computed")
    for write in prepared.built.writes:
        mark_complete(write.path)
    point("run.marked")
    folder.write(record)
    if prepared.settings.report:
        from bigseg.report.page import write_report

        write_report(folder.path, record)
        point("run.reported")
    lock.check()
    journal.finish()  # from here on the journal is trusted without scratch
    point("run.finished")
    if record["pipeline"].get("keep_components"):
        keep(folder, prepared.built, values)
    remove(folder.scratch)
    point("run.emptied")
    _sweep(prepared)
    images = [Path(write.path) for write in prepared.built.writes if write.pyramid]
    record["metadata"] = metadata_of(folder.path, images)
    lock.check()
    folder.write({**record, "status": "complete"})
    point("run.complete")
    record["status"] = "complete"


def _sweep(prepared: Prepared) -> None:
    """Remove what killed writers left in the run's folder and in its images."""
    prepared.folder.sweep()
    for write in prepared.built.writes:
        clear_temporary(Path(write.path))
        for level, _ in enumerate(levels_of(write.field.spec)):
            blocks.clear_partial(Volume.planned(write.path, write.field.spec, level))


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM becomes KeyboardInterrupt, so that workers are stopped and the lock is given back."""

    def interrupt(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # closing takes seconds; a second signal must not cut it
        raise KeyboardInterrupt

    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _described(origin: Origin) -> dict[str, Any]:
    """All that results depend on of an input: its content, and the description that sizes and tables come from."""
    spec = origin.spec
    found = {"content": identity(stored(origin)[0]), "shape": list(spec.shape)}
    found |= {"dtype": str(spec.dtype), "kind": spec.kind}
    return found | {"spacing": list(spec.spacing), "unit": spec.unit, "origin": list(spec.origin)} | chosen(origin)


def _part(origin: Origin) -> dict[str, Any]:
    """What was chosen of an input, so that it can be opened again."""
    return chosen(origin) | ({"missing": "fill"} if getattr(stored(origin)[0], "missing", "") == "fill" else {})


def _new_record(
    pipeline: Mapping[str, Any], prepared: Prepared, content: Mapping[str, Any], earlier: Mapping[str, Any] | None
) -> dict[str, Any]:
    """run.json as it stands while the run is on."""
    spec = next(iter(prepared.origins.values())).spec
    return {
        "status": "incomplete",
        "fingerprint": fingerprint(content),
        "pipeline": dict(pipeline),
        "inputs": {name: place(origin) for name, origin in prepared.origins.items()},
        "parts": {name: found for name, origin in prepared.origins.items() if (found := _part(origin))},
        **({"components_in": str(prepared.kept.folder.parent)} if prepared.kept is not None else {}),
        "volume": {
            "shape": list(spec.shape),
            "dtype": str(spec.dtype),
            "axes": list(spec.axes),
            "spacing": list(spec.spacing),
            "unit": spec.unit,
            "origin": list(spec.origin),
        },
        "block": list(prepared.plan.grid.block),
        "blocks": len(prepared.plan.grid),
        "stages": [
            asdict(Summary(s.name, s.kind, s.what, s.units, voxels=s.voxels, memory_planned=s.memory))
            for s in prepared.plan.stages
        ],
        "saved": [write.field.name for write in prepared.built.writes if write.pyramid],
        "stored": [list(item) for item in prepared.plan.stored],
        "workers": prepared.resources.workers,
        "memory_a_worker": prepared.resources.memory,
        "began": (earlier or {}).get("began") or datetime.now(UTC).isoformat(timespec="seconds"),
        "starts": int((earlier or {}).get("starts", 0)) + 1,
        "versions": content["versions"],
    }


def _finish(
    record: dict[str, Any], prepared: Prepared, summaries: list[Summary], values: Values, seconds: float
) -> None:
    """Add what is known only at the end."""
    record |= {
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "values": _values(prepared.built, values),
        "stages": [asdict(summary) for summary in summaries],
        "driver_memory_peak": driver_memory(),
    }


def _values(built: Built, values: Values) -> dict[str, dict[str, Any]]:
    """What each step computed: thresholds, statistics, the number of objects that it shows."""
    found: dict[str, dict[str, Any]] = {}
    for name, result in built.results.items():
        if isinstance(result, Reduction) and result.keys:
            found[name] = dict(values.get(result.name, {}))
        elif isinstance(result, Field) and isinstance(result.tag, Seen):
            count = result.tag.count(values)
            if count is not None:
                found[name] = {"objects": count}
        elif isinstance(result, Field) and isinstance(result.tag, Told) and (told := result.tag.values(values)):
            found[name] = dict(told)
    return found


def describe_existing(folder: RunFolder, content: Mapping[str, Any] | None = None) -> str:
    """In one line, what a run finds in its folder: nothing, finished, in use, or where it continues.

    Parameters
    ----------
    folder : of the run.
    content : what the run is to be started with, see `content_of`.

    Raises
    ------
    ChangedError
        When the run that lies there was started with something else.
    """
    record = folder.read()
    if record is None:
        return "new run"
    if content is not None:
        check_same(folder, content, look=True)
    if record["status"] == "complete":
        return "finished already: nothing to do"
    if (owner := holder(folder.lock)) is not None:
        return f"in use by process {owner['pid']} on {owner['host']}"
    done = sum(tally(folder.journal).values()) if folder.journal.exists() else 0
    units = sum(stage["blocks"] for stage in record.get("stages", []))
    return f"{record['status']}: continues at {done} of {units} blocks (start {record.get('starts', 0) + 1})"

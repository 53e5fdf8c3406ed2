"""Running a prepared pipeline in its folder: lock, journal, stages, record, report, in this order."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from bigseg.engine.damage import Found, metadata_of
from bigseg.engine.field import Values
from bigseg.engine.folder import RunFolder, check_same, fingerprint, remove
from bigseg.engine.journal import Journal
from bigseg.engine.lock import Lock
from bigseg.engine.run import Observer, execute, to_write
from bigseg.engine.serial import SerialExecutor
from bigseg.engine.stage import Plan
from bigseg.errors import LockedError, StorageError
from bigseg.pipeline.kept import keep
from bigseg.pipeline.prepared import Prepared, Start
from bigseg.pipeline.record import add_end, content_of, new_record
from bigseg.pipeline.result import Run
from bigseg.storage import blocks
from bigseg.storage.create import restore_metadata
from bigseg.storage.durable import clear_temporary, write_file
from bigseg.storage.faultpoints import point
from bigseg.storage.pyramid import levels_of
from bigseg.storage.volume import Volume, mark_complete, mark_incomplete


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
        record = new_record(pipeline, prepared, content, earlier)
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
            add_end(record, prepared, summaries, values, time.perf_counter() - began)
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
    """The finished run that lies in the folder, if it is the same and nothing of it is gone or damaged.

    File systems of clusters purge old files: what is gone is computed again, as in a run that has not finished.
    """
    folder = prepared.folder
    record = folder.read()
    if record is None or record["status"] != "complete":
        return None
    check_same(folder, content)
    return None if prepared.look().damaged else Run(folder.path, record)


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
        record["kept"] = keep(folder, prepared.built, values)
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

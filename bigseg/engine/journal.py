"""The append-only record of finished work, kept by the driver alone.

One line a finished unit: ``crc32 {"s": stage, "u": unit, "f": files, "d": digest}``, written after the unit's
files are durable. A line reaches the system at once, so that it survives a kill of the driver, and the disk
within a second or 64 lines. A torn last line is dropped; a damaged line further up is an error. A unit whose
files were found damaged is voided by a line of its own, and computed again.

Each driver begins a file of its own: the sound lines of the one before, then a head with the run's fingerprint
and the next epoch, then the name changes hands. A driver that lost its lock while it was stopped, and is
revived, goes on writing to a file that has no name any more: its results do not count.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import zlib
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextvars import copy_context
from hashlib import blake2b
from pathlib import Path
from typing import Any

from bigseg.engine.work import Done
from bigseg.errors import ChangedError, CorruptChunkError, ExactnessError, StorageError
from bigseg.storage.durable import sync, sync_folder, temporary_for
from bigseg.storage.faultpoints import point
from bigseg.storage.scratch import LIST

FLUSH_LINES, FLUSH_SECONDS = 64, 1.0
Unit = tuple[str, int]
"""A stage, and one of its units."""


class Checks:
    """For each unit of each stage 8 bytes of what it gave: 0 where there is nothing.

    >>> checks = Checks()
    >>> checks["pass-1", 1000] = 7
    >>> checks["pass-1", 1000], checks["pass-1", 999], checks["pass-2", 5], checks.count("pass-1")
    (7, 0, 0, 1)
    """

    def __init__(self) -> None:
        self.stages: dict[str, array[int]] = {}

    def __setitem__(self, key: tuple[str, int], check: int) -> None:
        stage, unit = key
        checks = self.stages.setdefault(stage, array("Q"))
        if unit >= len(checks):
            checks.frombytes(bytes(8 * (unit + 1 - len(checks) + len(checks) // 8)))
        checks[unit] = check

    def __getitem__(self, key: tuple[str, int]) -> int:
        checks = self.stages.get(key[0], ())
        return checks[key[1]] if key[1] < len(checks) else 0

    def count(self, stage: str) -> int:
        """Units of a stage with a check."""
        checks = self.stages.get(stage, array("Q"))
        return len(checks) - checks.count(0)


class Journal:
    """Finished units by stage, and the values that finished stages found.

    The driver holds 8 bytes a unit; files and digests stay on disk. Journalled units are trusted after a stat
    of their files: one whose file is gone or has another length is done again, and must give the same as before.

    Parameters
    ----------
    path : the journal's file.
    fingerprint : of the run; a journal of another run is refused.
    folder : the run's folder, to which the names of files are relative.
    scratch : name of the folder below it whose files are removed when the run is finished.
    needs : for each stage of the plan, the stages whose files it reads; without, each may read all others.
    damaged : units whose files are not what was journalled: their records are voided.

    Raises
    ------
    ChangedError
        When the journal is of another run.
    CorruptChunkError
        When a line that is not the last is damaged.
    StorageError
        When it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        fingerprint: str,
        folder: Path,
        scratch: str = "scratch",
        needs: Mapping[str, Collection[str]] | None = None,
        damaged: Iterable[Unit] = (),
    ) -> None:
        self.path = path
        self.folder = folder
        self.scratch = f"{scratch}/"
        self.epoch = 1
        self.stages: dict[str, dict[str, Any]] = {}
        """Finished stages: the summary that was written with their end."""
        self.values: dict[str, dict[str, Any]] = {}
        """Values of single units of a stage, as far as it has run."""
        self.finished = False
        """Whether every stage was finished, so that scratch may be gone."""
        self.lost = 0
        """Units that were finished once, but whose files are gone, have another length or are damaged."""
        self._done = Checks()
        self._lost = Checks()
        self._closed = False  # whether it ever was finished, so that scratch may be gone
        self._pending = 0
        self._failed: OSError | None = None
        self._writing = threading.Lock()
        self._stop = threading.Event()
        voided = set(damaged)
        end = self._replay(fingerprint, needs, voided) if path.exists() else 0
        try:
            point("journal.begin")
            self._handle = self._begin(end)
            self.append({"head": fingerprint, "epoch": self.epoch})
            for stage, unit in sorted(voided):
                self.append({"s": stage, "u": unit, "void": True})
            self.flush()
            point("journal.copied")
            os.replace(self._temporary, path)
            sync_folder(path.parent)
            point("journal.named")
        except OSError as error:
            raise StorageError(f"cannot make the journal {path}: {error.strerror}") from error
        inherited = copy_context()  # whether what is written must last
        self._flusher = threading.Thread(
            target=inherited.run, args=(self._flush_late,), name="bigseg journal", daemon=True
        )
        self._flusher.start()

    def _begin(self, end: int) -> int:
        """A file of this driver's own with the first ``end`` bytes of the journal."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = temporary_for(self.path)
        handle = os.open(self._temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND, 0o644)
        if end:
            with self.path.open("rb") as old, os.fdopen(os.dup(handle), "wb") as new:
                shutil.copyfileobj(old, new, 1 << 20)
                new.flush()
                os.truncate(handle, end)
        return handle

    def _replay(self, fingerprint: str, needs: Mapping[str, Collection[str]] | None, damaged: Collection[Unit]) -> int:
        """Take over what an earlier driver finished; gives back the length of the sound part."""
        end = 0
        swept = Checks()  # finished units whose files in scratch, and only these, are gone
        for offset, record in read_lines(self.path):
            end = offset
            if "head" in record:
                if record["head"] != fingerprint:
                    raise ChangedError(
                        f"{self.path} belongs to another run ({record['head'][:12]}, this one is "
                        f"{fingerprint[:12]}): give a new folder, or --restart to begin again"
                    )
                self.epoch = int(record["epoch"]) + 1
            elif "finished" in record:
                self.finished = self._closed = True
            elif "end" in record:
                self.stages[record["s"]] = record["end"]
            elif "void" in record:
                self._void((record["s"], record["u"]), swept)
            else:
                self.finished = False
                self._take_over(record, swept)
        for key in damaged:
            self._void(key, swept)
        self._judge(swept, needs)
        return end

    def _take_over(self, record: Mapping[str, Any], swept: Checks) -> None:
        """One unit's line; a later line of the same unit counts instead of the earlier."""
        key, values = (record["s"], record["u"]), record.get("v", {})
        check = _check(record["d"], values)
        missing = list(self._missing(record["f"]))
        if not missing and not self._lost.stages and not swept.stages and not values:
            self._done[key] = check  # the usual case
            return
        sweepable = all(name.startswith(self.scratch) for name in missing)
        for checks, mine in (
            (self._done, not missing),
            (swept, bool(missing) and sweepable),
            (self._lost, not sweepable),
        ):
            if mine or checks[key]:
                checks[key] = check if mine else 0
        if values:
            self.values.setdefault(record["s"], {}).update(values)

    def _void(self, key: Unit, swept: Checks) -> None:
        """Forget that a unit was finished, but not what it gave."""
        check = self._done[key] or swept[key]
        if check:
            self.finished = False
            self._done[key] = 0
            if swept[key]:
                swept[key] = 0
            self._lost[key] = check

    def _judge(self, swept: Checks, needs: Mapping[str, Collection[str]] | None) -> None:
        """Scratch may be gone once all was finished; what of it is needed for what is left is done again."""
        needed = self._needed(swept, needs)
        for stage, checks in swept.stages.items():
            into = self._lost if stage in needed else self._done
            for unit, check in enumerate(checks):
                if check:
                    into[stage, unit] = check
        for stage in self._lost.stages:
            count = self._lost.count(stage)
            self.lost += count
            if count:
                self.finished = False
                self.stages.pop(stage, None)

    def _needed(self, swept: Checks, needs: Mapping[str, Collection[str]] | None) -> set[str]:
        """Stages whose files are read by what is still to be computed."""
        lost = {stage for stage in self._lost.stages if self._lost.count(stage)}
        if self.finished and not lost:
            return set()
        if needs is None or not self._closed:
            return set(swept.stages)
        again = lost | {stage for stage in swept.stages if swept.count(stage)}  # computed again if they are needed
        todo = [stage for stage in needs if stage in lost or stage not in self.stages]
        needed: set[str] = set()
        while todo:
            for stage in needs.get(todo.pop(), ()):
                if stage not in needed:
                    needed.add(stage)
                    if stage in again:
                        todo.append(stage)
        return needed

    def _missing(self, files: Sequence[tuple[str, int, int]]) -> Iterator[str]:
        """Names of files that are gone or have another length; lists of files are followed."""
        for name, length, _ in files:
            path = f"{self.folder}/{name}"
            try:
                if os.stat(path).st_size != length:
                    yield name
                elif name.endswith(LIST):
                    yield from self._missing(json.loads(Path(path).read_bytes()))
            except (OSError, ValueError):
                yield name

    def has(self, stage: str, unit: int) -> bool:
        """Whether a unit is finished."""
        return bool(self._done[stage, unit])

    def count(self, stage: str) -> int:
        """How many units of a stage are finished."""
        return self._done.count(stage)

    def add(self, stage: str, done: Done) -> None:
        """Record a finished unit; one that is recorded already is compared and not written again.

        Raises
        ------
        ExactnessError
            When the unit was finished before and gave something else.
        """
        key, check = (stage, done.unit), _check(done.digest, done.values)
        before = self._done[key] or self._lost[key]
        if before and before != check:
            raise ExactnessError(
                f"stage {stage}, unit {done.unit} was computed twice and gave different results: the input or the "
                "scratch files changed during the run, or a worker computes differently; find the cause, then begin "
                "again with --restart"
            )
        if self._done[key]:
            return
        self._done[key] = check
        files = [(self._relative(name), length, crc) for name, length, crc in done.files]
        record: dict[str, Any] = {"s": stage, "u": done.unit, "f": files, "d": done.digest}
        if done.values:
            record["v"] = done.values
            self.values.setdefault(stage, {}).update(done.values)
        self.append(record)

    def _relative(self, name: str) -> str:
        return os.path.relpath(name, self.folder) if os.path.isabs(name) else name

    def end(self, stage: str, summary: dict[str, Any]) -> None:
        """Record that every unit of a stage is finished; durable when this returns."""
        self.stages[stage] = summary
        self.append({"s": stage, "end": summary})
        self.flush()

    def finish(self) -> None:
        """Record that every stage is finished, so that scratch is needed no more; durable when this returns."""
        if not self.finished:
            self.finished = True
            self.append({"finished": True})
            self.flush()

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one line; to the disk with the next flush.

        Raises
        ------
        StorageError
            When this or an earlier line cannot be written.
        """
        line = json.dumps(record, separators=(",", ":")).encode()
        data = memoryview(b"%08x %s\n" % (zlib.crc32(line), line))
        try:
            if self._failed is not None:
                raise self._failed
            point("journal.write")
            while data:
                data = data[os.write(self._handle, data) :]
            point("journal.written")
            self._pending += 1
            if self._pending >= FLUSH_LINES:
                self.flush()
        except OSError as error:
            self._failed = error  # what follows a torn line could not be read
            raise StorageError(
                f"cannot write {len(line) + 10} bytes to the journal {self.path}: {error.strerror}; make room, then "
                "run the same command again"
            ) from error

    def flush(self) -> None:
        """Make every line so far durable."""
        with self._writing:
            self._pending = 0
            try:
                point("journal.flush")
                sync(self._handle)
                point("journal.flushed")
            except OSError as error:
                self._failed = error
                raise StorageError(f"cannot write the journal {self.path}: {error.strerror}") from error

    def _flush_late(self) -> None:
        """Every second, make durable what blocks that take long have left in between."""
        while not self._stop.wait(FLUSH_SECONDS):
            if self._pending:
                try:
                    self.flush()
                except StorageError:
                    return  # kept for the next line

    def close(self) -> None:
        """Flush and close; again does no harm.

        Raises
        ------
        StorageError
            When the last lines could not be made durable.
        """
        if self._stop.is_set():
            return
        self._stop.set()
        self._flusher.join()
        try:
            if self._failed is None:
                self.flush()
        finally:
            os.close(self._handle)


def _check(digest: str, values: Mapping[str, Any]) -> int:
    """8 bytes of what a unit gave; never 0."""
    if not values and len(digest) == 16:
        return int(digest, 16) | 1
    text = json.dumps([digest, values], sort_keys=True)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) | 1


_KEY = re.compile(rb'{"s":("(?:[^"\\]|\\.)*"),"u":(\d+),"(f|void)":')


def tally(path: Path) -> dict[str, int]:
    """How many units of each stage a journal says are finished, at a glance: 1.5 us a line, checksums unread."""
    found: dict[bytes, Checks] = {}
    with path.open("rb") as file:
        for line in file:
            if (key := _KEY.match(line, 9)) is not None and line.endswith(b"\n"):
                found.setdefault(key[1], Checks())["", int(key[2])] = key[3] == b"f"
    return {json.loads(name): checks.count("") for name, checks in found.items()}


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The journal's records, each with the offset behind it; stops before a torn last line.

    Raises
    ------
    CorruptChunkError
        When a line that is not the last fails its checksum.
    StorageError
        When the file cannot be read.
    """
    try:
        yield from _read_lines(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(
            f"cannot read the journal {path}: {error.strerror}; check the disk and the permissions, then run again"
        ) from error


def _read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open("rb") as file:
        offset = 0
        torn = 0
        for number, line in enumerate(file, start=1):
            if torn:
                raise CorruptChunkError(
                    f"line {torn} of {path} is damaged: expected its checksum to match; the run's record cannot "
                    "be trusted, begin again with --restart"
                )
            record = _parse(line)
            if record is None:
                torn = number
                continue
            offset += len(line)
            yield offset, record


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        if line.endswith(b"\n") and int(line[:8], 16) == zlib.crc32(line[9:-1]):
            record: dict[str, Any] = json.loads(line[9:-1])
            return record
    except ValueError:
        pass
    return None

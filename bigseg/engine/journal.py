"""The append-only record of finished work, kept by the driver alone.

One line a finished unit: ``crc32 {"s": stage, "u": unit, "f": files, "d": digest}``. The head of each
driver's part holds the run's fingerprint and an epoch. A line is written after the unit's files are durable,
and flushed to disk every second or 64 lines; so a journalled unit is always whole, and what a kill loses is
at most what was in flight and one flush. A torn last line is dropped; a damaged line further up is an error.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bigseg.engine.work import Done
from bigseg.errors import ChangedError, CorruptChunkError, StorageError
from bigseg.storage.durable import sync_folder

FLUSH_LINES, FLUSH_SECONDS = 64, 1.0


class Journal:
    """Finished units by stage, and the values that finished stages found.

    The driver holds one bit a unit; digests and files stay on disk. Journalled units are trusted after a
    stat of their files: one whose file is gone or has another length is done again.

    Parameters
    ----------
    path : the journal's file.
    fingerprint : of the run; a journal of another run is refused.
    folder : the run's folder, to which the names of files are relative.
    """

    def __init__(self, path: Path, fingerprint: str, folder: Path) -> None:
        self.path = path
        self.folder = folder
        self.epoch = 1
        self.stages: dict[str, dict[str, Any]] = {}
        """Finished stages: the summary that was written with their end."""
        self.values: dict[str, dict[str, Any]] = {}
        """Values of single units of a stage, as far as it has run."""
        self._done: dict[str, bytearray] = {}
        self._pending = 0
        self._flushed = time.monotonic()
        end = self._replay(fingerprint) if path.exists() else 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("r+b" if end else "wb")
            self._file.truncate(end)
            self._file.seek(end)
        except OSError as error:
            raise StorageError(f"cannot open the journal {path}: {error.strerror}") from error
        self.append({"head": fingerprint, "epoch": self.epoch}, flush=True)
        sync_folder(path.parent)

    def _replay(self, fingerprint: str) -> int:
        """Take over what an earlier driver finished; gives back the length of the sound part."""
        end = 0
        damaged: set[str] = set()
        for end, record in read_lines(self.path):
            if "head" in record:
                if record["head"] != fingerprint:
                    raise ChangedError(
                        f"{self.path} belongs to another run ({record['head'][:12]}, this one is "
                        f"{fingerprint[:12]}): give a new folder, or --restart to begin again"
                    )
                self.epoch = int(record["epoch"]) + 1
            elif "end" in record:
                self.stages[record["s"]] = record["end"]
            elif all(self._whole(name, length) for name, length, _ in record["f"]):
                self._mark(record["s"], record["u"])
                if record.get("v"):
                    self.values.setdefault(record["s"], {}).update(record["v"])
            else:
                damaged.add(record["s"])
        for stage in damaged:
            self.stages.pop(stage, None)
        return end

    def _whole(self, name: str, length: int) -> bool:
        try:
            return (self.folder / name).stat().st_size == length
        except OSError:
            return False

    def _mark(self, stage: str, unit: int) -> None:
        bits = self._done.setdefault(stage, bytearray())
        if len(bits) <= unit >> 3:
            bits.extend(bytes((unit >> 3) + 1 - len(bits) + 1024))
        bits[unit >> 3] |= 1 << (unit & 7)

    def has(self, stage: str, unit: int) -> bool:
        """Whether a unit is finished."""
        bits = self._done.get(stage, b"")
        return unit >> 3 < len(bits) and bool(bits[unit >> 3] >> (unit & 7) & 1)

    def count(self, stage: str) -> int:
        """How many units of a stage are finished."""
        return sum(byte.bit_count() for byte in self._done.get(stage, b""))

    def add(self, stage: str, done: Done) -> None:
        """Record a finished unit."""
        self._mark(stage, done.unit)
        record: dict[str, Any] = {"s": stage, "u": done.unit, "f": done.files, "d": done.digest}
        if done.values:
            record["v"] = done.values
            self.values.setdefault(stage, {}).update(done.values)
        self.append(record)

    def end(self, stage: str, summary: dict[str, Any]) -> None:
        """Record that every unit of a stage is finished; durable when this returns."""
        self.stages[stage] = summary
        self.append({"s": stage, "end": summary}, flush=True)

    def append(self, record: dict[str, Any], flush: bool = False) -> None:
        """Write one line; to the disk at once, or with the next flush."""
        line = json.dumps(record, separators=(",", ":")).encode()
        try:
            self._file.write(b"%08x %s\n" % (zlib.crc32(line), line))
            self._pending += 1
            late = time.monotonic() - self._flushed > FLUSH_SECONDS
            if flush or late or self._pending >= FLUSH_LINES:
                self.flush()
        except OSError as error:
            raise StorageError(f"cannot write the journal {self.path}: {error.strerror}") from error

    def flush(self) -> None:
        """Make every line so far durable."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._pending, self._flushed = 0, time.monotonic()

    def close(self) -> None:
        """Flush and close."""
        if not self._file.closed:
            self.flush()
            self._file.close()


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The journal's records, each with the offset behind it; stops before a torn last line.

    Raises
    ------
    CorruptChunkError
        When a line that is not the last fails its checksum.
    """
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

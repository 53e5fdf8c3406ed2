"""A run's folder: what lies where, what state it is in, and whether it may be continued.

::

    OUT/run.json          status, fingerprint, versions, computed values, stages
    OUT/pipeline.yaml     the pipeline as it was resolved
    OUT/<id>.ome.zarr     each saved step
    OUT/tables/<id>.parquet
    OUT/report.html
    OUT/journal/          journal.jsonl, fingerprint.json, lock while a run is on
    OUT/scratch/          partial results; gone when the run is complete
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bigseg.errors import ChangedError, IncompleteError, OutputError, StorageError
from bigseg.storage.durable import write_file

LIBRARIES = ("bigseg", "numpy", "numba", "scipy", "scikit-image", "tensorstore", "zarr")


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    @property
    def record(self) -> Path:
        """run.json."""
        return self.path / "run.json"

    @property
    def journal(self) -> Path:
        """The record of finished blocks."""
        return self.path / "journal" / "journal.jsonl"

    @property
    def lock(self) -> Path:
        """Held by the one driver."""
        return self.path / "journal" / "lock"

    @property
    def scratch(self) -> Path:
        """Partial results."""
        return self.path / "scratch"

    def read(self) -> dict[str, Any] | None:
        """run.json, or None where there is none.

        Raises
        ------
        OutputError
            When run.json is there but is not ours.
        """
        try:
            found = json.loads(self.record.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise OutputError(f"{self.record} cannot be read as a run's record ({error}): give another folder") from error
        if not isinstance(found, dict) or "status" not in found:
            raise OutputError(f"{self.record} is not a record of bigseg: give another folder")
        return found

    def block(self) -> tuple[int, ...] | None:
        """The block of the run that lies here: continuing keeps it, whatever the workers are now."""
        record = self.read()
        return tuple(record["block"]) if record and "block" in record else None

    def write(self, record: Mapping[str, Any]) -> None:
        """Replace run.json, durably."""
        write_file(self.record, json.dumps(record, indent=1).encode() + b"\n")

    def refuse_foreign(self) -> None:
        """Raise OutputError when the folder holds something, but no run."""
        if self.path.is_file():
            raise OutputError(f"{self.path} is a file: expected a folder for the run, give another name")
        if self.path.is_dir() and self.read() is None:
            others = [item.name for item in self.path.iterdir() if item.name not in ("journal", "scratch")]
            if others:
                raise OutputError(
                    f"{self.path} holds {', '.join(sorted(others)[:5])} but no run.json: expected an empty folder "
                    "or a run of bigseg; give another name"
                )

    def clear(self) -> None:
        """Remove everything that a run made here, for --restart; nothing else is touched."""
        record = self.read()
        if record is None:
            return
        self.write({**record, "status": "incomplete"})
        for name in ("scratch", "journal", "tables", *(f"{step}.ome.zarr" for step in record.get("saved", []))):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in ("report.html", "pipeline.yaml", "run.json"):
            (self.path / name).unlink(missing_ok=True)

    def probe(self, needed: int) -> None:
        """Refuse a folder that cannot be written or has too little room, before anything is computed.

        Raises
        ------
        StorageError
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.path).free
        except OSError as error:
            raise StorageError(f"cannot make the folder {self.path}: {error.strerror}") from error
        write_file(self.path / "journal" / "probe", b"bigseg")
        (self.path / "journal" / "probe").unlink()
        if free < needed:
            raise StorageError(
                f"{self.path} has {free / 2**30:.1f} GiB free, the outputs need up to {needed / 2**30:.1f} GiB before "
                "compression: make room, save fewer steps, or give another folder"
            )


def complete(folder: Path, allow_incomplete: bool = False) -> dict[str, Any]:
    """The record of a run, refusing what is not complete.

    Raises
    ------
    OutputError
        When there is no run.
    IncompleteError
        When the run has not finished and ``allow_incomplete`` is not set.
    """
    record = RunFolder(folder).read()
    if record is None:
        raise OutputError(f"{folder} holds no run (no run.json): expected a folder made by `bigseg run`")
    if record["status"] != "complete" and not allow_incomplete:
        raise IncompleteError(
            f"the run in {folder} is {record['status']}: run the same command again to finish it, or ask for what "
            "is there with --allow-incomplete"
        )
    return record


def versions() -> dict[str, str]:
    """Versions of everything that could change a result."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def fingerprint(content: Mapping[str, Any]) -> str:
    """One name for everything that the results depend on."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What changed between two fingerprints, a line each.

    >>> differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2})
    ['a.b: was 1, is 3']
    """
    lines = []
    for key in sorted(set(old) | set(new)):
        was, now = old.get(key), new.get(key)
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            lines += differences(was, now, f"{prefix}{key}.")
        elif isinstance(was, list) and isinstance(now, list):
            lines += differences(dict(_keyed(was)), dict(_keyed(now)), f"{prefix}{key}.")
        elif was != now:
            lines.append(f"{prefix}{key}: was {_short(was)}, is {_short(now)}")
    return lines


def _keyed(items: list[Any]) -> list[tuple[str, Any]]:
    return [(str(item["id"] if isinstance(item, Mapping) and "id" in item else i), item) for i, item in enumerate(items)]


def _short(value: Any) -> str:
    return "absent" if value is None else f"{value!r:.80}"


def check_same(folder: RunFolder, content: Mapping[str, Any]) -> None:
    """Refuse to continue a run that was started with something else.

    Raises
    ------
    ChangedError
        With one line for each difference.
    """
    path = folder.journal.parent / "fingerprint.json"
    if not path.exists():
        write_file(path, json.dumps(content, indent=1, sort_keys=True).encode())
        return
    try:
        old = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be read ({error}): begin again with --restart") from error
    changed = differences(old, content)
    if changed:
        raise ChangedError(
            f"{folder.path} was made with something else:\n  "
            + "\n  ".join(changed[:20])
            + "\ngive another folder, restore what was, or begin again with --restart"
        )

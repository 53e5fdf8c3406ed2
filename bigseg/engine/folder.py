"""A run's folder: what lies where, what state it is in, and whether it may be continued.

::

    OUT/run.json          status, fingerprint, versions, computed values, stages
    OUT/pipeline.yaml     the pipeline as it was resolved
    OUT/<id>.ome.zarr     each saved step
    OUT/tables/<id>.parquet     a file or, of a large table, a folder of parts; detections also as .json and .csv
    OUT/report.html
    OUT/journal/          journal.jsonl, fingerprint.json, lock while a run is on
    OUT/scratch/          partial results; gone when the run is complete
    OUT/components/       with keep_components: the rows of all components, for `bigseg tune`
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeGuard

from bigseg.errors import ChangedError, IncompleteError, OutputError, StorageError
from bigseg.storage.durable import clear_temporary, found_at, is_temporary, names_in, temporary_for, write_file

LIBRARIES = ("bigseg", "numpy", "numba", "scipy", "scikit-image", "tensorstore", "zarr")
KEPT: dict[str, type] = {
    "pipeline": dict,
    "inputs": dict,
    "values": dict,
    "volume": dict,
    "versions": dict,
    "saved": list,
    "kept": list,
    "block": list,
    "stages": list,
}
"""What a record holds, where it holds it."""
FINGERPRINT = "fingerprint.json"
"""Beside the journal; made when a run begins from nothing, and never changed."""
COMPONENTS = "components"
PARTIAL, REMOVED = ".partial", ".removed"
"""Endings of hidden folders: images and shards that are being written, folders that are being removed."""


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
    def fingerprint(self) -> Path:
        """What the run was started with."""
        return self.path / "journal" / FINGERPRINT

    @property
    def lock(self) -> Path:
        """Held by the one driver."""
        return self.path / "journal" / "lock"

    @property
    def scratch(self) -> Path:
        """Partial results."""
        return self.path / "scratch"

    @property
    def components(self) -> Path:
        """Rows that were kept."""
        return self.path / COMPONENTS

    def read(self) -> dict[str, Any] | None:
        """run.json, or None where there is none.

        Raises
        ------
        OutputError
            When run.json is there but is not ours.
        """
        try:
            found: Any = json.loads(self.record.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise OutputError(
                f"{self.record} cannot be read as a run's record ({error}): give another folder"
            ) from error
        if not _is_record(found):
            raise OutputError(f"{self.record} is not a record of bigseg: give another folder")
        return found

    def block(self, ndim: int) -> tuple[int, ...] | None:
        """The block of the run that lies here: continuing keeps it, whatever the workers are now.

        None for a volume of other axes, which is no continuation: `check_same` will say what differs.
        """
        block = tuple((self.read() or {}).get("block", ()))
        return block if len(block) == ndim else None

    def write(self, record: Mapping[str, Any]) -> None:
        """Replace run.json, durably."""
        write_file(self.record, json.dumps(record, indent=1).encode() + b"\n")

    def refuse_foreign(self) -> None:
        """Raise OutputError when the folder holds something, but no run."""
        state = found_at(self.path)
        if state is None:
            return
        if not stat.S_ISDIR(state.st_mode):
            raise OutputError(f"{self.path} is a file: expected a folder for the run, give another name")
        if self.read() is None:
            ours = ("journal", "scratch")
            others = [name for name in names_in(self.path) if not (name in ours or is_temporary(name))]
            if others:
                raise OutputError(
                    f"{self.path} holds {', '.join(sorted(others)[:5])} but no run.json: expected an empty folder "
                    "or a run of bigseg; give another name"
                )

    def made(self) -> list[Path]:
        """The folders of what a run makes here: `clear` removes them."""
        images = (f"{Path(step).name}.ome.zarr" for step in (self.read() or {}).get("saved", []))
        return [self.path / name for name in ("scratch", "tables", "models", COMPONENTS, *images)]

    def clear(self) -> None:
        """Remove everything that a run made here, but the lock; nothing else is touched.

        Each folder loses its name before its content, so that a kill leaves no half of one, and run.json goes
        last, so that the folder is a run's until nothing is left.
        """
        record = self.read()
        if record is None and not self.fingerprint.exists() and not self.journal.exists():
            return  # whatever lies here, no run made it
        if record is not None:
            self.write({**record, "status": "incomplete"})
        for folder in self.made():
            remove(folder)
        for path in (
            self.journal,
            self.fingerprint,
            self.path / "report.html",
            self.path / "pipeline.yaml",
            self.record,
        ):
            path.unlink(missing_ok=True)
        self.sweep()

    def sweep(self) -> None:
        """Remove what killed processes left half done: temporary files, images without a name, removed folders.

        Only for the driver that holds the lock, before its first block or after its last.
        """
        tables = self.path / "tables"
        parted = [tables / name for name in names_in(tables) if name.endswith(".parquet")]  # one file is no folder
        for folder in (self.path, self.journal.parent, tables, *parted, self.path / "models"):
            clear_temporary(folder)
        for parent, folders, _ in os.walk(self.scratch, onerror=_unlisted):
            clear_temporary(Path(parent))
            for name in [name for name in folders if name.startswith(".") and name.endswith((PARTIAL, REMOVED))]:
                shutil.rmtree(Path(parent, name), ignore_errors=True)
            folders[:] = [name for name in folders if name != "c" and not name.startswith(".")]  # no shards
        for name in names_in(self.path):
            if name.startswith(".") and name.endswith((PARTIAL, REMOVED)):
                shutil.rmtree(self.path / name, ignore_errors=True)

    def probe(self) -> None:
        """Refuse a folder that cannot be written, before anything is computed.

        Raises
        ------
        StorageError
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = temporary_for(self.journal.parent / "probe")
            write_file(probe, b"bigseg")
            probe.unlink()
        except OSError as error:
            raise StorageError(f"cannot make the folder {self.path}: {error.strerror}") from error

    def check_room(self, needed: int) -> None:
        """Refuse a folder with too little room for what is still to be written.

        Raises
        ------
        StorageError
        """
        free = shutil.disk_usage(self.path).free
        if free < needed:
            raise StorageError(
                f"{self.path} has {free / 2**30:.1f} GiB free, what is left to write needs up to "
                f"{needed / 2**30:.1f} GiB before compression: make room, save fewer steps, or give another folder"
            )


def _unlisted(error: OSError) -> None:
    if isinstance(error, FileNotFoundError):
        return
    raise StorageError(f"cannot list {error.filename}: {error.strerror}; check the disk and the permissions") from error


def ingest_folder(path: Path) -> Path:
    """Where an ingest keeps its record until it is finished.

    >>> ingest_folder(Path("scans/a.ome.zarr")).as_posix()
    'scans/.a.ome.zarr.ingest'
    """
    return path.with_name(f".{path.name}.ingest")


def remove(folder: Path) -> None:
    """Remove a folder that is seen whole or not at all, whatever is killed in between."""
    gone = folder.with_name(f".{folder.name}{REMOVED}")
    shutil.rmtree(gone, ignore_errors=True)
    with suppress(FileNotFoundError):
        os.rename(folder, gone)
    shutil.rmtree(gone, ignore_errors=True)


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


@cache
def versions() -> Mapping[str, str]:
    """Versions of everything that could change a result; looking them up takes 60 ms."""
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
    return [
        (str(item["id"] if isinstance(item, Mapping) and "id" in item else i), item) for i, item in enumerate(items)
    ]


def _short(value: Any) -> str:
    return "absent" if value is None else f"{value!r:.80}"


def _is_record(found: Any) -> TypeGuard[dict[str, Any]]:
    """Whether this can be what `RunFolder.write` wrote: whoever reads a record relies on these."""
    if not isinstance(found, dict) or found.get("status") not in ("incomplete", "complete", "failed"):
        return False
    if any(key in found and not isinstance(found[key], kind) for key, kind in KEPT.items()):
        return False
    saved, block, stages = found.get("saved", []), found.get("block", []), found.get("stages", [])
    return (
        all(isinstance(name, str) and Path(name).name == name for name in saved)
        and all(isinstance(side, int) and side > 0 for side in block)
        and all(isinstance(stage, dict) and {"name", "blocks"} <= stage.keys() for stage in stages)
    )


def check_same(folder: RunFolder, content: Mapping[str, Any], *, look: bool = False) -> None:
    """Refuse to continue a run that was started with something else.

    Parameters
    ----------
    folder : of the run.
    content : what the results depend on; kept where nothing is kept yet.
    look : write nothing.

    Raises
    ------
    ChangedError
        With one line for each difference.
    """
    path = folder.fingerprint
    if not path.exists():
        if (folder.read() or {}).get("status") == "complete":
            raise OutputError(f"{folder.path} says that it is complete, but {path} is gone: begin again with --restart")
        if not look:
            write_file(path, json.dumps(content, indent=1, sort_keys=True).encode())
        return
    try:
        old = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be read ({error}): begin again with --restart") from error
    changed = differences(old, content)
    if changed:
        if any(re.match(r"inputs\..+\.content: ", line) for line in changed):
            changed.append("(content: names, lengths, times of files; copy an input with its times: rsync -t, cp -p)")
        raise ChangedError(
            f"{folder.path} was made with something else:\n  "
            + "\n  ".join(changed[:20])
            + "\ngive another folder, restore what was, or begin again with --restart"
        )

"""Files that are either whole under their name or absent, whatever is killed in between.

What nobody will read after a crash (a function's results on their way to the caller) is not waited for: `fleeting`.
"""

from __future__ import annotations

import errno
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

from bigseg.errors import LockedError, StorageError
from bigseg.storage.faultpoints import point

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}\.tmp")

_noted: ContextVar[dict[Path, tuple[int, int]] | None] = ContextVar("noted", default=None)
_fleeting: ContextVar[bool] = ContextVar("fleeting", default=False)


class Mark(NamedTuple):
    """A file that belongs to one run, as it was: who begins again in the same folder makes another.

    A task that computes cannot be called back. One of a run that was given up may end an hour after another run, with
    other parameters, has written the same block.
    """

    path: str
    inode: int
    modified: int

    @classmethod
    def of(cls, path: Path) -> Mark | None:
        """The file as it is; None where there is none."""
        try:
            handle = os.open(path, os.O_RDONLY)  # opened, for NFS answers `stat` from a minute ago
        except FileNotFoundError:
            return None
        try:
            state = os.fstat(handle)
        finally:
            os.close(handle)
        return cls(str(path), state.st_ino, state.st_mtime_ns)


_mark: ContextVar[Mark | None] = ContextVar("mark", default=None)


@contextmanager
def on_behalf_of(mark: Mark | None) -> Iterator[None]:
    """What this thread writes meanwhile gets its name only as long as a run is the one in its folder."""
    token = _mark.set(mark)
    try:
        yield
    finally:
        _mark.reset(token)


def current_mark() -> Mark | None:
    """Of the run that this thread writes for."""
    return _mark.get()


def check_mark() -> None:
    """Raise LockedError where the run that this thread writes for is no longer the one in its folder; 5 us, or a way
    to the file server."""
    mark = _mark.get()
    if mark is not None and Mark.of(Path(mark.path)) != mark:
        raise LockedError(f"another run was begun in {Path(mark.path).parent.parent}: this one writes nothing more")


def write_file(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``: temporary file, fsync, rename, fsync of the folder.

    Raises
    ------
    StorageError
        When the file system refuses, with the path, the size and its reason.
    """
    temporary = temporary_for(path)
    point("file.begin")
    check_mark()  # before a folder is made again that a new run has just removed
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
        try:
            point("file.temporary")
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view) :]
            point("file.written")
            sync(handle)
        finally:
            os.close(handle)
        point("file.synced")
        check_mark()
        os.replace(temporary, path)
        point("file.renamed")
        sync_folder(path.parent)
    except LockedError:
        temporary.unlink(missing_ok=True)
        raise
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(
            f"cannot write {len(data)} bytes to {path}: {error.strerror}; make room or give a folder that "
            "can be written, then run the same command again"
        ) from error
    point("file.durable")
    noted = _noted.get()
    if noted is not None:
        noted[path] = len(data), zlib.crc32(data)


@contextmanager
def fleeting() -> Iterator[None]:
    """What this thread writes meanwhile goes with this process: files are not synced, tables not compressed.

    A table of 10,000 objects from an array of 256^3 takes 0.11 s instead of 0.20.
    """
    token = _fleeting.set(True)
    try:
        yield
    finally:
        _fleeting.reset(token)


def is_fleeting() -> bool:
    """Whether what is written now need not last."""
    return _fleeting.get()


@contextmanager
def files_written() -> Iterator[dict[Path, tuple[int, int]]]:
    """Note every file that `write_file` makes in this thread meanwhile: its length and CRC-32.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, files_written() as files:
    ...     write_file(Path(folder, "name"), b"abc")
    >>> list(files.values())
    [(3, 891568578)]
    """
    files: dict[Path, tuple[int, int]] = {}
    token = _noted.set(files)
    try:
        yield files
    finally:
        _noted.reset(token)


def temporary_for(path: Path) -> Path:
    """A name beside ``path`` that no other writer uses, whatever its process, thread or machine."""
    return path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")


def clear_temporary(folder: Path) -> int:
    """Remove what killed writers left of files in this folder that never got their name; how many there were.

    Only for the one driver of a run, before its first block or after its last.
    """
    left = [name for name in names_in(folder) if is_temporary(name)]
    for name in left:
        (folder / name).unlink(missing_ok=True)
    return len(left)


def found_at(path: Path) -> os.stat_result | None:
    """What lies at a path, links followed; None where nothing does.

    Raises
    ------
    StorageError
        When the system does not tell: in a folder of somebody else's, or of a name that is too long.
    """
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last: a name that none can have
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link to itself leads nowhere
            return None
        raise StorageError(
            f"cannot look at {path}: {error.strerror}; give another name, or ask for the permission"
        ) from error


def names_in(folder: Path) -> list[str]:
    """What lies in a folder, in order; nothing where there is no such folder.

    Raises
    ------
    StorageError
        When it cannot be read.
    """
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StorageError(
            f"cannot list {folder}: {error.strerror}; check the disk and the permissions, then run again"
        ) from error


def is_temporary(name: str) -> bool:
    """Whether this is the name of a file that was being written.

    >>> is_temporary(temporary_for(Path("run.json")).name), is_temporary("run.json")
    (True, False)
    """
    return _TEMPORARY.fullmatch(name) is not None


def sync(handle: int) -> None:
    """Make what was written to an open file durable."""
    if not _fleeting.get():
        os.fsync(handle)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    sync_file(folder)


def sync_file(path: Path) -> None:
    """Make a file durable that somebody else has written."""
    if not _fleeting.get():
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

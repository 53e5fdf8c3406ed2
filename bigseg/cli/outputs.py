"""The single files that commands write: what could not be written, or would destroy an input, is refused first."""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from bigseg.errors import StorageError, UsageError


def refuse_picture(option: str, path: Path, inputs: Iterable[str | Path | None]) -> None:
    """`refuse_output` for a picture, which is PNG whatever its name says."""
    refuse_output(option, path, inputs, (".png",))


def refuse_output(option: str, path: Path, inputs: Iterable[str | Path | None], endings: Sequence[str] = ()) -> None:
    """Refuse, before anything is computed, a file that could not be written afterwards, or is read by the command.

    Parameters
    ----------
    option : that names the file.
    path : the file.
    inputs : whatever the command reads: files, folders, patterns of slices; None and what is no file do no harm.
    endings : of the names that are allowed; none: all.

    Raises
    ------
    UsageError
        When the file is an input, or in the folder of one, or when its name has another ending.
    StorageError
        When it cannot be written.
    """
    for source in inputs:
        if source is not None and _belongs(path, str(source)):
            raise UsageError(f"{option} {path} would write into {source}, which this command reads: give another name")
    _refuse_unwritable(path)
    if endings and path.suffix.lower() not in endings:
        raise UsageError(f"{option} {path}: expected a name that ends in {' or '.join(endings)}")


def _belongs(path: Path, source: str) -> bool:
    """Whether a file is an input, one of its slices or in its folder, whatever the names that lead there."""
    real = Path(os.path.realpath(path))
    for item in [source] if os.path.lexists(source) else glob.glob(source):
        if real.is_relative_to(os.path.realpath(item)):
            return True
        if path.exists() and os.path.exists(item) and os.path.samefile(path, item):  # a hard link, another case
            return True
    return False


def _refuse_unwritable(path: Path) -> None:
    if not path.absolute().parent.is_dir():
        raise StorageError(f"cannot write {path}: {path.parent} is no folder; make it first, or give another name")
    if path.is_dir():
        raise StorageError(f"cannot write {path}: it is a folder; give the name of a file")
    try:
        with tempfile.TemporaryFile(dir=path.absolute().parent):
            pass
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; give a folder that you can write to"
        ) from error

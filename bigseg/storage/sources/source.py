"""What every input that is not Zarr can do."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bigseg.errors import InputError, StorageError
from bigseg.grid import Box, Shape
from bigseg.storage.spec import Spec

_SYSTEM = {errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE}
"""What the system says of a disk or of a right; others, like EINVAL, come of what a damaged file holds."""


class Source(Protocol):
    """A file or a stack of files, read box by box; small and picklable."""

    @property
    def spec(self) -> Spec:
        """What the volume is."""

    @property
    def name(self) -> str:
        """Of the volume, from its file."""

    def read(self, box: Box) -> NDArray[Any]:
        """The voxels of a box, C-contiguous and in native byte order."""

    def token(self) -> str:
        """What changes when a file changes: a hash over names, sizes and times."""

    def describe(self) -> dict[str, str]:
        """What it is, a line each, for people."""


def files_token(paths: Iterable[str], choice: object = None) -> str:
    """A hash over names, sizes and times of files, and over what was chosen inside them.

    Raises
    ------
    InputError
        When a file is gone.
    """
    found = hashlib.blake2b(repr(choice).encode(), digest_size=16)
    for path in paths:
        try:
            state = os.stat(path)
        except OSError as error:
            raise InputError(f"{path} cannot be read any more: {error.strerror}; put it back") from error
        name = os.fsencode(os.path.basename(path))  # which may be no UTF-8
        found.update(name + f" {state.st_size} {state.st_mtime_ns}\n".encode())
    return found.hexdigest()


def refuse_unreadable(path: str, error: BaseException) -> None:
    """Say what the system said where a file could not be read: the file itself may be whole.

    Raises
    ------
    StorageError
        When ``error`` tells of the disk or of permissions.
    """
    if isinstance(error, OSError) and error.errno in _SYSTEM:
        raise StorageError(
            f"cannot read {path}: {error.strerror}; check the disk and the permissions, then run again"
        ) from error


def spec_of(
    path: str, shape: Shape, dtype: Any, axes: tuple[str, ...], spacing: tuple[float, ...], unit: str = ""
) -> Spec:
    """The description of what a file holds; booleans are a mask.

    Raises
    ------
    InputError
        When voxels of that dtype cannot be segmented, naming the file.
    """
    native = np.dtype(dtype).newbyteorder("=")
    try:
        return Spec(shape, native, axes, spacing, unit, "mask" if native.kind == "b" else "image")
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def check_box(box: Box, spec: Spec, where: str) -> None:
    """Refuse a box that reaches outside of the volume."""
    inside = all(0 <= a < b <= n for a, b, n in zip(box.start, box.stop, spec.shape, strict=True))
    if not inside:
        raise InputError(f"box {box.start} to {box.stop}: expected a box inside {where} of shape {spec.shape}")


def stem(path: str) -> str:
    """A file's name without its endings."""
    name = os.path.basename(path.rstrip("/"))
    for ending in (".ome.tif", ".ome.tiff"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return os.path.splitext(name)[0] or "volume"

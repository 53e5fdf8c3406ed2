"""NumPy files, through a memory map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigseg.errors import CorruptChunkError, InputError
from bigseg.grid import Box, Shape
from bigseg.storage.axes import Channel, choose_axes
from bigseg.storage.handles import count
from bigseg.storage.sources.source import check_box, files_token, refuse_unreadable, spec_of, stem
from bigseg.storage.spec import Spec


@dataclass(frozen=True)
class NpyFile:
    """The array of a ``.npy`` file; leading axes are held at one index."""

    path: str
    spec: Spec
    prefix: Shape
    name: str

    @classmethod
    def open(cls, path: str, channel: Channel = None) -> NpyFile:
        """Look at the header.

        Raises
        ------
        InputError
            When it is no NumPy file of numbers, or shorter than its header says.
        ParameterError
            When a channel must be chosen.
        """
        array = _map(path)
        chosen = choose_axes(array.shape, (), None, channel, (), path)
        shape = array.shape[len(chosen.prefix) :]
        spec = spec_of(path, shape, array.dtype, chosen.axes, (1.0,) * len(shape))
        return cls(path, spec, chosen.prefix, stem(path))

    def read(self, box: Box) -> NDArray[Any]:
        """The voxels of a box."""
        check_box(box, self.spec, self.path)
        array = _map(self.path)[self.prefix]
        if array.shape != self.spec.shape:
            raise InputError(f"{self.path} has shape {array.shape}, expected {self.spec.shape}: it was replaced")
        count(read=box.size * self.spec.dtype.itemsize)
        return np.array(array[box.slices], self.spec.dtype, order="C")

    def token(self) -> str:
        """Name, size and time of the file."""
        return files_token([self.path], self.prefix)

    def describe(self) -> dict[str, str]:
        """What it is."""
        return {"path": self.path, "format": "NumPy file, memory-mapped"}


def _map(path: str) -> NDArray[Any]:
    try:
        with np.errstate(over="ignore"):  # a forged header may tell of 10^30 voxels
            array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "mmap length" in str(error):
            raise CorruptChunkError(
                f"{path} is shorter than its header says: copy it again from the original"
            ) from error
        raise InputError(f"{path} cannot be read as an array of numbers ({error}); save it with numpy.save") from error
    except (OSError, EOFError) as error:
        refuse_unreadable(path, error)
        raise InputError(f"{path} cannot be read as a NumPy file: {error}") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} holds several arrays: expected the .npy file of one")
    if not array.size:
        raise InputError(f"{path} has shape {array.shape}: it holds no voxels")
    return array

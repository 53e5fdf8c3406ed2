"""Phantoms for Python: one call gives the image and its truths, as lazy arrays and as an input of pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr
from numpy.typing import DTypeLike

from bigseg.grid import Shape
from bigseg.storage.lazy import as_dataarray
from bigseg.storage.sources.phantom import PhantomSource

CHUNK = {2: 4096, 3: 256}
"""Side of a dask chunk: what takes a tenth of a second to make."""


@dataclass(frozen=True)
class Phantom(PhantomSource):
    """A phantom: an input of `Pipeline.run` and `ingest` as it is, and lazy arrays of its image and truths.

    ``phantom.showing("mask")`` is a truth as an input.
    """

    @property
    def image(self) -> xr.DataArray:
        """What the scanner sees, lazily."""
        return as_dataarray(self.showing("image"), CHUNK[self.spec.ndim])

    @property
    def mask(self) -> xr.DataArray:
        """True where an object is (a class other than 0), lazily."""
        return as_dataarray(self.showing("mask"), CHUNK[self.spec.ndim])

    @property
    def classes(self) -> xr.DataArray:
        """The class of each voxel (uint8), lazily."""
        return as_dataarray(self.showing("classes"), CHUNK[self.spec.ndim])

    @property
    def instances(self) -> xr.DataArray:
        """The number of the object that each voxel belongs to, 0 for none, lazily.

        Numbers are unique in the volume, but not without gaps.
        """
        return as_dataarray(self.showing("instances"), CHUNK[self.spec.ndim])


def phantom(
    kind: str,
    shape: int | str | Shape | Sequence[int],
    *,
    dtype: DTypeLike = "uint16",
    spacing: float | str | Sequence[float | str] = 1.0,
    unit: str = "",
    **parameters: Any,
) -> Phantom:
    """A volume of any size with an exact truth, computed where it is read: no disk, no memory for the whole.

    Each voxel is a function of the parameters and its place alone: the same bits for any block, crop, order and
    worker. Objects come from hashed cells, noise from a hash of the voxel's place.

    Parameters
    ----------
    kind : ``voids`` of all sizes, ``lacunae`` with canaliculi, ``fibres``, ``layers``, packed ``grains``, or ``random``
        voxels; ``bigseg phantom KIND`` lists the parameters of one.
    shape : voxels along z, y, x, or y, x; one number for a cube.
    dtype : uint16, uint8 or float32, of the image; the grey values are the same in all.
    spacing, unit : voxel size, ``"0.65 um"`` or one per axis.
    parameters : ``seed``; ``greys``; the objects' (``size``, ...); the scanner's: ``blur``, ``noise``, ``poisson``,
        ``cupping``, ``rings``, ``drift``, ``bias``, ``sample``. See `bigseg.storage.sources.phantom_kinds`.

    Returns
    -------
    phantom : ``.image``, ``.mask``, ``.classes``, ``.instances`` are lazy DataArrays; the phantom itself is an input of
        pipelines, ``phantom.showing("mask")`` its truth as an input.

    Raises
    ------
    ParameterError
        When a kind, parameter or value is none, with the nearest name.

    Notes
    -----
    One core of the test machine, blocks of 256^3: voids, fibres and layers with noise 240 to 280 Mvox/s, with blur too
    140; grains half of that; random voxels 1100; Poisson noise 130, below 16 photons a voxel 22. Temporaries take up
    to 26 MiB whatever the box. Blur is a gaussian of the true grey values, truncated at 4 sigma, computed
    on a box that is larger by as much: phantoms have no edge. An image of two axes is blurred across its plane
    too.

    Examples
    --------
    >>> bone = phantom("lacunae", (40, 50, 60), seed=3, blur=0.8, noise=6)
    >>> bone.image.shape, str(bone.image.dtype), float(bone.mask.mean().round(2))
    ((40, 50, 60), 'uint16', 0.07)
    """
    return Phantom.make(kind, shape, dtype=dtype, spacing=spacing, unit=unit, parameters=parameters)

"""Grey values one by one: clip, rescale and invert."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field as Parameter
from pydantic import model_validator

from bigseg.engine.field import Array
from bigseg.errors import ParameterError
from bigseg.grid import Shape
from bigseg.local.filters.intensity import LinearMap, clip, limits, linear_map
from bigseg.ops.base import LocalOp, Number
from bigseg.storage.spec import Spec

Target = Literal["float32", "uint8", "int8", "uint16", "int16"]


class Clip(LocalOp):
    """Move values below ``low`` up to it, and values above ``high`` down to it.

    Keeps the dtype, exact. Of integer images a limit that is no whole number moves inwards, so that no voxel lies
    outside; a limit beyond the dtype is none. Depth 0. Cost: 0.1 to 0.3 ns a voxel a core.

    >>> import numpy as np, bigseg
    >>> bigseg.clip(np.array([3, 50, 200], "uint8")[None], low=10, high=99)
    array([[10, 50, 99]], dtype=uint8)
    """

    op: ClassVar[str] = "clip"
    oracle: ClassVar[str] = "numpy.clip, of integers with ceil(low) and floor(high), exactly"
    example: ClassVar[str] = "{id: limited, op: clip, low: 10, high: 200}"

    low: Number | None = Parameter(None, description="least value of the result; default: no limit")
    high: Number | None = Parameter(None, description="greatest value of the result; default: no limit")

    @model_validator(mode="after")
    def _sensible(self) -> Clip:
        if self.low is None and self.high is None:
            raise ValueError("expected `low`, `high` or both")
        _rising(self.low, self.high)
        return self

    def cost(self, spec: Spec) -> float:
        """At the speed of memory."""
        return 0.2 + 0.1 * spec.dtype.itemsize

    def output(self, spec: Spec) -> Spec:
        """The same image within the limits, as far as they are known."""
        refuse_names(self.op, spec)
        if spec.dtype.kind == "b":
            raise ParameterError("clip of a mask: expected an image, as a mask has no values between 0 and 1")
        ends = [end if isinstance(end, (int, float)) else None for end in (self.low, self.high)]
        low, high = limits(spec.dtype, *ends)
        bounds = spec.bounds or (-np.inf, np.inf)
        found = max(bounds[0], low), min(bounds[1], high)
        finite = bool(np.isfinite(found).all()) and found[0] <= found[1]
        return spec.but(kind="image", bounds=found if finite else spec.bounds)

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """Half precision as float32, before and after."""
        return copied(spec, outer) + copied(spec, inner) // 2

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Limit one block."""
        low = None if self.low is None else known(self.op, self.low)
        high = None if self.high is None else known(self.op, self.high)
        return clip(array[keep], low, high).astype(spec.dtype, copy=False)


class Rescale(LocalOp):
    """Stretch the values from ``low`` to ``high`` over another range, and limit what lies outside.

    ``(clip(x) - low) / (high - low) * (out_high - out_low) + out_low``, in float32 (in float64 for dtypes of more than
    16 bits other than float32), each of the four steps rounded by itself. Integer results are rounded half up. For
    the range of the whole volume let a step before find it: ``{id: stats, op: histogram}``, then ``${stats.p1}``.
    Depth 0. Cost: 0.5 ns a voxel a core, 1 ns to integers.

    >>> import numpy as np, bigseg
    >>> bigseg.rescale(np.array([[0, 10, 15, 40]], "uint16"), low=10, high=20, dtype="uint8")
    array([[  0,   0, 128, 255]], dtype=uint8)
    """

    op: ClassVar[str] = "rescale"
    oracle: ClassVar[str] = (
        "skimage.exposure.rescale_intensity on float32 with these ranges, then floor(x + 0.5) for integers; exactly"
    )
    example: ClassVar[str] = "{id: bytes, op: rescale, low: 400, high: 9000, dtype: uint8}"

    low: Number = Parameter(description="value that becomes out_low; less becomes out_low, too")
    high: Number = Parameter(description="value that becomes out_high; more becomes out_high, too")
    out_low: float | None = Parameter(None, description="least value of the result; default: 0, or the dtype's least")
    out_high: float | None = Parameter(None, description="greatest value of the result; default: 1, or the dtype's")
    dtype: Target = Parameter("float32", description="dtype of the result")

    @model_validator(mode="after")
    def _sensible(self) -> Rescale:
        _rising(self.low, self.high, strictly=True)
        target = np.dtype(self.dtype)
        for name, value in (("out_low", self.out_low), ("out_high", self.out_high)):
            if target.kind != "f" and value is not None:
                info = np.iinfo(target)
                if not info.min <= value <= info.max:
                    raise ValueError(f"{name} {value}: {target} holds {info.min} to {info.max}")
        return self

    @property
    def target(self) -> tuple[float, float]:
        """The range of the result."""
        info = np.iinfo(self.dtype) if self.dtype != "float32" else None
        low, high = (0.0, 1.0) if info is None else (float(info.min), float(info.max))
        return low if self.out_low is None else self.out_low, high if self.out_high is None else self.out_high

    def output(self, spec: Spec) -> Spec:
        """An image within the new range; a bound may be passed by the rounding of the last step."""
        refuse_names(self.op, spec)
        low, high = sorted(self.target)
        slack = 1e-6 * max(abs(low), abs(high), high - low) if self.dtype == "float32" else 0.0
        return spec.but(dtype=np.dtype(self.dtype), kind="image", bounds=(low - slack, high + slack))

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """A copy of half precision."""
        return copied(spec, outer)

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Stretch one block."""
        low, high = known(self.op, self.low), known(self.op, self.high)
        if not low < high:
            raise ParameterError(f"rescale: expected low < high, found low {low} and high {high}")
        first, last = self.target
        return linear_map(array[keep], LinearMap(low, high - low, last - first, first, low, high), self.dtype)


class Invert(LocalOp):
    """Turn bright into dark: ``high - (x - low)``; keeps the dtype.

    Integers and masks without a range: every bit is inverted, so the least value of the dtype becomes its greatest
    (0 becomes 255, -128 becomes 127). Floats need the range (0 and 1 for skimage's; or that of the volume, which a
    step before finds: ``low: ${stats.min}, high: ${stats.max}``). With a range, integers beyond it are limited to it
    first; floats are computed in float32 (float64 in float64) without a limit. Depth 0. Cost: 0.1 to 0.5 ns a voxel
    a core.

    >>> import numpy as np, bigseg
    >>> bigseg.invert(np.array([[0, 100, 255]], "uint8"))
    array([[255, 155,   0]], dtype=uint8)
    """

    op: ClassVar[str] = "invert"
    oracle: ClassVar[str] = "skimage.util.invert, exactly; with a range numpy: high - (x - low)"
    example: ClassVar[str] = "{id: dark, op: invert}"

    low: Number | None = Parameter(None, description="value that becomes high; default: the least of the dtype")
    high: Number | None = Parameter(None, description="value that becomes low; default: the greatest of the dtype")

    @model_validator(mode="after")
    def _sensible(self) -> Invert:
        if (self.low is None) != (self.high is None):
            raise ValueError("expected both `low` and `high`, or neither")
        _rising(self.low, self.high)
        return self

    def cost(self, spec: Spec) -> float:
        """At the speed of memory."""
        return 0.2 + 0.1 * spec.dtype.itemsize

    def output(self, spec: Spec) -> Spec:
        """The same dtype; masks stay masks."""
        refuse_names(self.op, spec)
        if self.low is None:
            if spec.dtype.kind == "f":
                raise ParameterError(
                    f"invert of {spec.dtype} needs the range: low and high as numbers (0 and 1), or what a histogram "
                    "step before finds, low: ${stats.min}, high: ${stats.max}"
                )
            return spec
        if spec.dtype.kind == "b" or (spec.dtype.kind != "f" and spec.dtype.itemsize > 4):
            raise ParameterError(
                f"invert of {spec.dtype} within a range: expected floats or integers of up to 32 bits; leave low and "
                "high away"
            )
        if spec.dtype.kind != "f":
            return spec
        ends = self.low, self.high
        if spec.bounds is None or not all(isinstance(end, (int, float)) for end in ends):
            return spec.but(kind="image", bounds=None)
        both = float(self.low) + float(self.high)  # type: ignore[arg-type]
        slack = 1e-6 * (abs(both) + max(map(abs, spec.bounds)))
        return spec.but(kind="image", bounds=(both - spec.bounds[1] - slack, both - spec.bounds[0] + slack))

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """Integers of 32 bits as 64, before they get their dtype again."""
        wide = spec.dtype.itemsize > 2 and spec.dtype.kind != "f"
        return copied(spec, outer) + (8 * int(np.prod(inner)) if wide and self.low is not None else 0)

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Invert one block."""
        part = array[keep]
        if self.low is None or self.high is None:
            return np.invert(part)
        low, high = known(self.op, self.low), known(self.op, self.high)
        if spec.dtype.kind == "f":
            real = np.float32 if spec.dtype.itemsize < 8 else np.float64
            floats: Array = np.subtract(part, real(low), dtype=real)
            return np.subtract(real(high), floats, out=floats).astype(spec.dtype, copy=False)
        least, most = limits(spec.dtype, low, high)
        if spec.dtype.itemsize <= 2:
            return linear_map(part, LinearMap(least, 1.0, -1.0, most, least, most), spec.dtype)
        whole: Array = part.astype(np.int64)
        np.clip(whole, least, most, out=whole)
        return np.subtract(int(least + most), whole, out=whole).astype(spec.dtype)


def known(op: str, value: Number | None) -> float:
    """A number that is given, and no reference any more."""
    if value is None or isinstance(value, str):
        raise ParameterError(f"{op} {value}: the value is not computed yet")
    return value


def copied(spec: Spec, outer: Shape) -> int:
    """Bytes of a copy of an image that Numba cannot read where it lies: half precision."""
    return 4 * int(np.prod(outer)) if spec.dtype == np.float16 else 0


def refuse_names(op: str, spec: Spec) -> None:
    """Refuse labels and classes, whose numbers are names.

    Raises
    ------
    ParameterError
    """
    if spec.kind in ("labels", "classes"):
        raise ParameterError(
            f"{op} of {spec.kind}: expected an image or a mask, as the numbers of {spec.kind} are names; "
            "take a mask first (threshold, above: 0)"
        )


def _rising(low: Number | None, high: Number | None, strictly: bool = False) -> None:
    if isinstance(low, (int, float)) and isinstance(high, (int, float)) and (low >= high if strictly else low > high):
        raise ValueError(f"expected low {'<' if strictly else '<='} high, found low {low} and high {high}")

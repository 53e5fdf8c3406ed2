"""A function of the user's on every block."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Sequence
from math import ceil, prod
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field as Parameter
from pydantic import WithJsonSchema, field_serializer, field_validator, model_validator

from bigseg.engine.field import Array, Field
from bigseg.errors import BigsegError, BlockError, ParameterError, PipelineError, ValuesError
from bigseg.grid import Shape
from bigseg.local.thresholds.histogram import extremes
from bigseg.ops.base import Lengths, LocalOp, Masking, Op, Site, in_voxels
from bigseg.ops.user_function import UserFunction
from bigseg.storage.spec import Spec

NAMED = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")
Code = Annotated[Any, WithJsonSchema({"type": "string"})]


class MapBlock(Op):
    """Any function of your own: NumPy array in, NumPy array of the same shape out.

    The function gets each block grown by ``depth`` voxels on every side and clipped at the edge of the volume; the
    result is cropped. So the blocks agree with the function on the whole array if its result at a voxel depends on
    the voxels up to ``depth`` away, and on nothing else: no statistics of the array it gets, no random numbers, no
    running sums of floats. It may change its array. In Python give the function itself; it is sent to the workers
    with its code. In a pipeline file give ``module:name``, which only runs with --allow-code: the file makes this
    machine run that code. A run is continued only with the same code. Cost: the function's.

    >>> import numpy as np, bigseg
    >>> bigseg.map_block(np.array([[1, 5, 2]]), lambda x: x // 2)
    array([[0, 2, 1]])
    """

    op: ClassVar[str] = "map_block"
    oracle: ClassVar[str] = "the function on the whole array, exactly"
    example: ClassVar[str] = '{id: own, op: map_block, function: "my_filters:flatten", depth: 4, dtype: float32}'
    masked: ClassVar[Masking] = "result"
    local: ClassVar[bool] = True

    function: Code = Parameter(description="the function, or in a pipeline file its name, module:name")
    depth: Lengths = Parameter(
        0, description='halo in voxels, or with a unit ("5 um"): how far the function looks; one or one per axis'
    )
    dtype: str | None = Parameter(None, description="of the function's result; default: that of its input")
    parameters: dict[str, Any] = Parameter({}, description="keywords that the function gets beside the array")
    bytes_a_voxel: float = Parameter(
        16.0, ge=0, description="memory that the function takes for its temporaries and result, for the plan"
    )
    digest: str = Parameter("", description="of the function's code; written into run folders, refused when it differs")

    @model_validator(mode="before")
    @classmethod
    def _packed(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        function = data.get("function")
        if callable(function) and not isinstance(function, UserFunction):
            function = UserFunction.of(function)
        if isinstance(function, UserFunction):
            given = data.get("digest") or function.digest
            if given != function.digest:
                raise ValueError(
                    f"the code of {function.name} has changed since this pipeline was written (digest was {given}, is "
                    f"{function.digest}): restore it, or remove `digest` to compute with the new code"
                )
            return {**data, "function": function, "digest": function.digest}
        return data

    @field_validator("function")
    @classmethod
    def _function_or_name(cls, value: Any) -> Any:
        if not isinstance(value, UserFunction) and not (isinstance(value, str) and NAMED.match(value)):
            raise ValueError(f"expected a function, or its name as module:name, found {value!r:.60}")
        return value

    @field_validator("dtype", mode="before")
    @classmethod
    def _dtype(cls, value: Any) -> Any:
        if value is None:
            return None
        try:
            found = np.dtype(value)
        except TypeError:
            raise ValueError(f"expected a dtype such as float32 or uint8, found {value!r:.60}") from None
        if found.kind not in "buif" or found.itemsize > 8:
            raise ValueError(f"expected bool, integers or floats of up to 64 bits, found {found}")
        return found.name

    @field_serializer("function")
    def _name(self, value: Any) -> str:
        return value.name if isinstance(value, UserFunction) else str(value)

    def loaded(self, folder: Path | None = None) -> MapBlock:
        """With the function in place of its name: imports its module, which runs it.

        Raises
        ------
        PipelineError
            When there is no such function, or its code is not that of the digest.
        """
        if not isinstance(self.function, str):
            return self
        given = {name: getattr(self, name) for name in type(self).model_fields}
        try:
            return MapBlock(**given | {"function": UserFunction.load(self.function, folder)})
        except ValueError as error:
            raise PipelineError(str(error)) from error

    def applied(self) -> BlockFunction:
        """The local operation that it is.

        Raises
        ------
        PipelineError
            When there is only the name of a function.
        """
        if isinstance(self.function, str):
            raise PipelineError(code_refused(self.function))
        return BlockFunction(
            function=self.function,
            reach=self.depth,
            target=self.dtype,
            parameters=self.parameters,
            bytes_a_voxel=self.bytes_a_voxel,
        )

    def build(self, inputs: Sequence[Field], site: Site) -> Field:
        """One field on top of another."""
        return self.applied().build(inputs, site)


def code_refused(name: str) -> str:
    """Why a pipeline with the name of a function is not run."""
    return (
        f"map_block would run the Python code {name}, and whoever wrote the pipeline may have put anything there: "
        "if you trust it, allow it with --allow-code (in Python: allow_code=True, or give the function itself)"
    )


class BlockFunction(LocalOp):
    """A function on blocks as a local operation: what `MapBlock` becomes when its code may run."""

    op: ClassVar[str] = "map_block"
    oracle: ClassVar[str] = MapBlock.oracle

    function: Code
    reach: Lengths
    target: str | None
    parameters: dict[str, Any]
    bytes_a_voxel: float

    def depth(self, spec: Spec) -> Shape:
        """As told."""
        return tuple(ceil(d - 1e-9) for d in in_voxels(self.reach, spec, "depth"))

    def cost(self, spec: Spec) -> float:
        """Nobody knows; as a filter of middle size."""
        return 20.0

    def output(self, spec: Spec) -> Spec:
        """An image of the dtype told, or a mask."""
        dtype = spec.dtype if self.target is None else np.dtype(self.target)
        return spec.but(dtype=dtype, kind="mask" if dtype.kind == "b" else "image", bounds=None)

    def memory(self, spec: Spec, outer: Shape, inner: Shape) -> int:
        """A copy for the function, and what it takes itself."""
        return int(prod(outer) * (spec.dtype.itemsize + self.bytes_a_voxel))

    def compute(self, array: Array, keep: tuple[slice, ...], spec: Spec) -> Array:
        """Call the function on one block, and check what it gives back.

        Raises
        ------
        ParameterError
            When that has another shape or dtype.
        ValuesError
            When it holds NaN or infinite values.
        BlockError
            When the function raises an error.
        """
        name, wanted = self.function.name, self.output(spec).dtype
        try:
            found = self.function(np.array(array, order="C"), **self.parameters)
        except BigsegError:
            raise
        except Exception as error:
            failed = BlockError(
                f"map_block: the function {name} raised {type(error).__name__}: {error} on an array of shape "
                f"{array.shape} and dtype {array.dtype}; its traceback is shown with --debug"
            )
            failed.add_note("".join(traceback.format_exception(error)))  # a cause would not travel with the result
            raise failed from error
        if not isinstance(found, np.ndarray) or found.shape != array.shape:
            told = f"shape {found.shape}" if isinstance(found, np.ndarray) else f"a {type(found).__name__}"
            raise ParameterError(
                f"map_block: the function {name} gave back {told}: expected an array of the shape that it got, "
                f"{array.shape}; the halo is cropped afterwards"
            )
        if found.dtype != wanted:
            raise ParameterError(
                f"map_block: the function {name} gave back {found.dtype}, expected {wanted}: say dtype: {found.dtype}, "
                f"or let it convert its result (.astype('{wanted}'))"
            )
        result: Array = np.ascontiguousarray(found[keep], wanted)
        if wanted.kind == "f" and result.size:
            seen = extremes(result)
            if seen.nans or seen.infs:
                raise ValuesError(
                    f"map_block: the function {name} gave back {seen.nans} NaN and {seen.infs} infinite values: "
                    "expected finite ones; replace them in the function (numpy.nan_to_num)"
                )
        return result


def as_function(function: Callable[..., Any], **parameters: Any) -> BlockFunction:
    """A function in Python as a local operation; parameters as of `MapBlock`."""
    return MapBlock(function=function, **parameters).applied()

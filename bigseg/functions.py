"""Every operation as a function on arrays: ``bigseg.gaussian(volume, sigma=1.0)``.

NumPy in, NumPy out; dask in, dask out; DataArray in, DataArray out. Local operations stay lazy on dask
arrays and give the same bits as the engine. Global operations run through the engine, which reads an opened volume
block by block; the result lies in a temporary volume and is read back (NumPy) or opened (DataArray).
"""

from __future__ import annotations

import atexit
import inspect
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from bigseg.engine.source import finite
from bigseg.errors import ParameterError
from bigseg.ops.base import LocalOp, Op
from bigseg.ops.combine import Combine
from bigseg.ops.evaluate import Evaluate
from bigseg.ops.keyed import TableOp
from bigseg.ops.kmeans import Kmeans
from bigseg.ops.map_block import MapBlock
from bigseg.ops.registry import OPS
from bigseg.pipeline.arrays import describe as describe
from bigseg.pipeline.arrays import function_input, in_order, refuse_unnamed
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.steps import Step, make_op
from bigseg.report.figures import Evaluation
from bigseg.storage.durable import fleeting
from bigseg.storage.lazy import open_volume
from bigseg.storage.spec import Spec


def apply_local(op: LocalOp, volume: Any) -> Any:
    """A local operation on a NumPy array, dask array or DataArray (2-D or 3-D)."""
    spec = describe(volume)
    if isinstance(volume, xr.DataArray):
        return like(volume, _apply(op, in_order(volume).data, spec), op.output(spec).kind)
    return _apply(op, volume, spec)


def like(volume: xr.DataArray, found: Any, kind: str) -> Any:
    """What was computed of a DataArray `in_order`, with the axes, coordinates and attributes that it came with."""
    return in_order(volume).copy(data=found).assign_attrs(kind=kind).transpose(*volume.dims)


def _apply(op: LocalOp, array: Any, spec: Spec) -> Any:
    if isinstance(array, da.Array):
        return _lazily(op, array, spec)
    array = finite(np.asarray(array), (0,) * spec.ndim)
    return op.compute(np.ascontiguousarray(array), tuple(slice(0, n) for n in array.shape), spec)


def _lazily(op: LocalOp, array: da.Array, spec: Spec) -> da.Array:
    """Blocks overlap by the depth and are clipped at the volume's edge, exactly as the engine reads them."""
    depth = op.depth(spec)
    least = tuple(max(1, d) for d in depth)
    chunks = tuple(
        da.overlap.ensure_minimum_chunksize(min(d, sum(sizes)), sizes)
        for d, sizes in zip(least, array.chunks, strict=True)
    )
    array = array.rechunk(chunks)
    depth = tuple(0 if len(sizes) == 1 else d for d, sizes in zip(depth, array.chunks, strict=True))
    grown = da.overlap.overlap(array, dict(enumerate(depth)), boundary="none") if any(depth) else array

    def block(part: np.ndarray, block_info: Any = None) -> np.ndarray:
        keep = []
        for place, number, d, n in zip(
            block_info[0]["chunk-location"], block_info[0]["num-chunks"], depth, part.shape, strict=True
        ):
            keep.append(slice(d if place else 0, n - (d if place < number - 1 else 0)))
        inner = block_info[None]["array-location"]
        start = [first - part.start for (first, _), part in zip(inner, keep, strict=True)]
        return op.compute(np.ascontiguousarray(finite(part, start)), tuple(keep), spec)

    dtype = op.output(spec).dtype
    meta = np.empty((0,) * array.ndim, dtype)
    return da.map_blocks(block, grown, chunks=array.chunks, dtype=dtype, meta=meta)


def apply_step(step: Step, volumes: Mapping[str, Any]) -> Any:
    """A step with the id ``result`` on arrays under their names, through the engine.

    Labels, masks and tables come back whole, volumes of the kind of the first.
    """
    op, volume = step.op, next(iter(volumes.values()))
    refuse_unnamed(volumes.values())
    folder = Path(tempfile.mkdtemp(prefix="bigseg-"))
    lazy = isinstance(volume, xr.DataArray)
    if lazy:
        atexit.register(shutil.rmtree, folder, True)
    try:
        inputs = {name: function_input(item) for name, item in volumes.items()}
        with fleeting():
            run = Pipeline([step]).run(inputs, folder / "run", workers=0, report=False)
        tables = run.tables
        if isinstance(op, Evaluate):
            return Evaluation(run.values["result"], tables.get("result"))
        if "result" in tables and ("result" not in run.values or isinstance(op, TableOp)):
            return tables["result"]
        if not run.record["saved"]:
            return run.values["result"]
        result = open_volume(folder / "run" / "result.ome.zarr")
        if lazy:
            named = result.rename(dict(zip(result.dims, in_order(volume).dims, strict=True)))
            return named.assign_coords(volume.coords).transpose(*volume.dims)
        found = np.asarray(result)
        return found.astype(bool) if result.attrs.get("kind") == "mask" else found
    finally:
        if not lazy:
            shutil.rmtree(folder, ignore_errors=True)


def _further(kind: type[Op], parameters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The volumes that parameters hold (``intensity``: one, a list, a mapping), and the parameters with their names."""
    named: dict[str, Any] = {}
    told = dict(parameters)
    for name in kind.refers:
        given = parameters.get(name)
        if given is not None and not isinstance(given, str):
            volumes = by_name(given, name)
            named |= volumes
            told[name] = tuple(volumes) if isinstance(given, (Mapping, list, tuple)) else name
    if taken := named.keys() & {"input", "result"}:
        raise ParameterError(f"bigseg.{kind.op}: {', '.join(taken)} is the first volume, or the result: rename")
    return named, told


def make_function(kind: type[Op]) -> Callable[..., Any]:
    """The function of an operation, with its parameters as keywords and its docstring."""

    def function(volume: Any, *others: Any, **parameters: Any) -> Any:
        by_place = dict(zip(kind.refers, others, strict=False))  # further volumes may follow the first
        if len(others) > len(kind.refers) or by_place.keys() & parameters.keys():
            raise ParameterError(
                f"bigseg.{kind.op}: expected by place {', '.join(('volume', *kind.refers))}, each once, found "
                f"{1 + len(others)} by place and {', '.join(parameters) or 'none'} by name"
            )
        parameters |= by_place
        named, parameters = _further(kind, parameters)
        op = make_op(kind, parameters, f"bigseg.{kind.op}")
        if isinstance(op, LocalOp):
            return apply_local(op, volume)
        return apply_step(Step("result", op), {"input": volume} | named)

    first = inspect.Parameter("volume", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    given = [
        inspect.Parameter(
            name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD if name in kind.refers else inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if item.is_required() else item.default,
        )
        for name, item in sorted(kind.model_fields.items(), key=lambda field: field[0] not in kind.refers)
    ]
    function.__name__ = function.__qualname__ = kind.op
    function.__doc__ = kind.__doc__
    function.__signature__ = inspect.Signature([first, *given])  # type: ignore[attr-defined]
    return function


def combine(expression: str, *volumes: Any, dtype: str | None = None, **named: Any) -> Any:
    """The function of `Combine`: its volumes are named by keyword, or x0, x1 … by place."""
    op = make_op(Combine, {"expression": expression, "dtype": dtype}, "bigseg.combine")
    assert isinstance(op, Combine)
    arrays = [*volumes, *named.values()]
    if not arrays or any(op.references()):
        raise ParameterError(f"combine {expression!r:.100}: expected volumes, and no values of steps")
    names = {name: place for place, name in enumerate(named, start=len(volumes))}
    for place in range(len(volumes)):
        names.setdefault(f"x{place}", place)
    frames = [array for array in arrays if isinstance(array, xr.DataArray)]
    if any(frame.dims != frames[0].dims for frame in frames):
        raise ParameterError(f"combine: expected the same axes, found {', '.join(str(f.dims) for f in frames)}")
    refuse_unnamed(arrays)
    formula, spec = op.formula(names, (), [describe(array) for array in arrays], "bigseg.combine")
    data = [in_order(array).data if isinstance(array, xr.DataArray) else array for array in arrays]
    lazy = [item for item in data if isinstance(item, da.Array)]
    if lazy:
        chunks = lazy[0].chunks
        parts = [x.rechunk(chunks) if isinstance(x, da.Array) else da.from_array(np.asarray(x), chunks) for x in data]

        def block(*blocks: np.ndarray, block_info: Any = None) -> np.ndarray:
            start = [first for first, _ in block_info[None]["array-location"]]
            return formula.of([finite(part, start) for part in blocks], start)

        meta = np.empty((0,) * spec.ndim, spec.dtype)
        found = da.map_blocks(block, *parts, dtype=spec.dtype, meta=meta)
    else:
        found = formula.of([finite(np.asarray(item), (0,) * spec.ndim) for item in data])
    return like(frames[0], found, spec.kind) if frames else found


def map_block(volume: Any, function: Callable[..., Any], **parameters: Any) -> Any:
    """The function of `MapBlock`: takes the user's function by place."""
    op = make_op(MapBlock, {"function": function, **parameters}, "bigseg.map_block")
    assert isinstance(op, MapBlock)
    return apply_local(op.applied(), volume)


def by_name(volume: Any, alone: str) -> dict[str, Any]:
    """Volumes by name, from a mapping by name, a list (x0, x1 …), or one, which is called ``alone``.

    >>> by_name([1, 2], "x0"), by_name(3, "")
    ({'x0': 1, 'x1': 2}, {'': 3})
    """
    if isinstance(volume, Mapping):
        return {str(name): item for name, item in volume.items()}
    if isinstance(volume, (list, tuple)):
        return {f"x{place}": item for place, item in enumerate(volume)}
    return {alone: volume}


def kmeans(volume: Any, mask: Any = None, **parameters: Any) -> Any:
    """The function of `Kmeans`: several images as a mapping by name or as a list; a mask restricts it."""
    op = make_op(Kmeans, parameters, "bigseg.kmeans")
    volumes = by_name(volume, "x0")
    if not volumes or "mask" in volumes or "result" in volumes:
        raise ParameterError(
            f"bigseg.kmeans: expected an image or several, none named mask or result, found {', '.join(volumes)}"
        )
    if mask is None:
        return apply_step(Step("result", op, tuple(volumes)), volumes)
    return apply_step(Step("result", op, tuple(volumes), "mask"), volumes | {"mask": mask})


combine.__doc__ = Combine.__doc__
map_block.__doc__ = MapBlock.__doc__
kmeans.__doc__ = Kmeans.__doc__
OWN = {Combine.op: combine, MapBlock.op: map_block, Kmeans.op: kmeans}
"""Operations whose functions take their volumes in their own way."""
FUNCTIONS = {name: make_function(kind) for name, kind in OPS.items()} | OWN

"""Sixty-four voxels at a time: the machine words under the component kernels.

A row of a mask is kept as 64-bit words, voxel ``x`` in bit ``x % 64`` of word ``x // 64``. The functions
here are compiled into Numba kernels only. They are written as LLVM vectors, which every target lowers to
what it has (AVX-512 masks, AVX2 or SSE2 movemask, NEON), because Numba's loop vectoriser finds none of them.
They compare, select and add integers, so the result never depends on the target.

Bit tricks: ``f ^ (f - 1)`` is a mask of all bits up to and including the lowest set bit of ``f``, ``f & -f``
is that bit alone (H. S. Warren, Hacker's Delight, chapter 2).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

WORD = 64
NONE = np.uint64(0)
ONE = np.uint64(1)
ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
TOP = np.uint64(63)
CHUNK = np.uint64(16)
# Bits whose position has bit k set: their counts give the sum of the positions.
PLACES = tuple(np.uint64(sum(1 << i for i in range(WORD) if i >> k & 1)) for k in range(6))

# Kernels never allocate: arrays come from the caller. Without Numba's reference counting, which it cannot
# prune where arrays pass through inlined functions, they run 2 to 6 times faster.
kernel = njit(nogil=True, cache=True, _nrt=False)
inlined = njit(nogil=True, inline="always", _nrt=False)

_I1, _I32, _I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)


def _splat(builder: Any, value: Any, lanes: int) -> Any:
    vector = ir.VectorType(value.type, lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(undefined, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes))


def _constant(kind: Any, value: int, lanes: int) -> Any:
    return ir.Constant(ir.VectorType(kind, lanes), [value] * lanes)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, at: Any, lanes: int) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    vector = ir.VectorType(context.get_data_type(array_type.dtype), lanes)
    return builder.bitcast(builder.gep(data, [at]), vector.as_pointer())


def _load(context: Any, builder: Any, array_type: Any, array: Any, at: Any, lanes: int) -> Any:
    where = _pointer(context, builder, array_type, array, at, lanes)
    return builder.load(where, align=array_type.dtype.bitwidth // 8)


def _lanes_of(builder: Any, mask: Any, lanes: int) -> Any:
    if lanes < WORD:
        mask = builder.trunc(mask, ir.IntType(lanes))
    return builder.bitcast(mask, ir.VectorType(_I1, lanes))


def _reduce(builder: Any, name: str, vector: Any) -> Any:
    kind = vector.type.element
    signature = ir.FunctionType(kind, [vector.type])
    full = f"llvm.vector.reduce.{name}.v{vector.type.count}i{kind.width}"
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, full), [vector])


@intrinsic
def popcount(typing: Any, word: Any) -> Any:
    """Number of set bits."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), generate


@intrinsic
def lowest(typing: Any, word: Any) -> Any:
    """Position of the lowest set bit, 64 when there is none."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(_I1, 0))

    return types.uint64(types.uint64), generate


@intrinsic
def highest(typing: Any, word: Any) -> Any:
    """Position of the highest set bit of a word that has one."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.sub(ir.Constant(_I64, 63), builder.ctlz(args[0], ir.Constant(_I1, 0)))

    return types.uint64(types.uint64), generate


@intrinsic
def inside(typing: Any, flat: Any, at: Any, low: Any, high: Any) -> Any:
    """Bits of the 64 values from ``at`` on that lie in [low, high]; NaN does not."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = signature.args[0]
        values = _load(context, builder, array, args[0], args[1], WORD)
        bounds = _splat(builder, args[2], WORD), _splat(builder, args[3], WORD)
        if isinstance(array.dtype, types.Float):
            compare = builder.fcmp_ordered
        else:
            compare = builder.icmp_signed if array.dtype.signed else builder.icmp_unsigned
        both = builder.and_(compare(">=", values, bounds[0]), compare("<=", values, bounds[1]))
        return builder.bitcast(both, _I64)

    return types.uint64(flat, types.intp, flat.dtype, flat.dtype), generate


@intrinsic
def equal(typing: Any, flat: Any, first: Any, second: Any) -> Any:
    """Bits where the 64 integers from ``first`` on equal the 64 from ``second`` on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = signature.args[0]
        one = _load(context, builder, array, args[0], args[1], WORD)
        other = _load(context, builder, array, args[0], args[2], WORD)
        return builder.bitcast(builder.icmp_unsigned("==", one, other), _I64)

    return types.uint64(flat, types.intp, types.intp), generate


@intrinsic
def store_word(typing: Any, flat: Any, at: Any, mask: Any, value: Any, other: Any) -> Any:
    """Write 64 items from ``at`` on: ``value`` where the mask is set, ``other`` elsewhere."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = signature.args[0]
        mask = _lanes_of(builder, args[2], WORD)
        items = builder.select(mask, _splat(builder, args[3], WORD), _splat(builder, args[4], WORD))
        where = _pointer(context, builder, array, args[0], args[1], WORD)
        builder.store(items, where, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(flat, types.intp, types.uint64, flat.dtype, flat.dtype), generate


@intrinsic
def store_chunk(typing: Any, flat: Any, at: Any, mask: Any, value: Any) -> Any:
    """Write ``value`` where one of the mask's low 16 bits is set; keep the other items."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = signature.args[0]
        where = _pointer(context, builder, array, args[0], args[1], 16)
        align = array.dtype.bitwidth // 8
        mask = _lanes_of(builder, args[2], 16)
        items = builder.select(mask, _splat(builder, args[3], 16), builder.load(where, align=align))
        builder.store(items, where, align=align)
        return context.get_dummy_value()

    return types.void(flat, types.intp, types.uint64, flat.dtype), generate


def _ordered(builder: Any, bits: Any) -> Any:
    """Map the bits of floats to signed integers of the same order, and back (it is its own inverse)."""
    kind = bits.type.element if isinstance(bits.type, ir.VectorType) else bits.type
    lanes = bits.type.count if isinstance(bits.type, ir.VectorType) else 0

    def constant(value: int) -> Any:
        return _constant(kind, value, lanes) if lanes else ir.Constant(kind, value)

    sign = builder.ashr(bits, constant(kind.width - 1))
    return builder.xor(bits, builder.and_(sign, constant((1 << (kind.width - 1)) - 1)))


def _extreme(which: str, lanes: int) -> Any:
    @intrinsic
    def extreme(typing: Any, flat: Any, at: Any, mask: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            array = signature.args[0]
            width = array.dtype.bitwidth
            real = isinstance(array.dtype, types.Float)
            signed = real or array.dtype.signed
            values = _load(context, builder, array, args[0], args[1], lanes)
            if real:
                kind = ir.VectorType(ir.IntType(width), lanes)
                values = _ordered(builder, builder.bitcast(values, kind))
            least, most = (-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else (0, (1 << width) - 1)
            neutral = _constant(ir.IntType(width), least if which == "max" else most, lanes)
            kept = builder.select(_lanes_of(builder, args[2], lanes), values, neutral)
            result = _reduce(builder, ("s" if signed else "u") + which, kept)
            if real:
                return builder.bitcast(_ordered(builder, result), context.get_data_type(array.dtype))
            return result

        return flat.dtype(flat, types.intp, types.uint64), generate

    return extreme


largest_in_word = _extreme("max", 64)
largest_in_chunk = _extreme("max", 16)
smallest_in_word = _extreme("min", 64)
smallest_in_chunk = _extreme("min", 16)


def _masked_integers(context: Any, builder: Any, array: Any, args: Any, lanes: int) -> tuple[Any, Any, bool]:
    """Values under a mask as integers, zeros elsewhere; how they are widened; whether they have 16 bits at most.

    args: the flat array, where to begin, the mask, and the factor of floats.
    """
    values = _load(context, builder, array, args[0], args[1], lanes)
    keep = _lanes_of(builder, args[2], lanes)
    if isinstance(array.dtype, types.Float):
        kind = values.type
        name = f"llvm.rint.v{lanes}f{array.dtype.bitwidth}"
        rint = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind]), name)
        scaled = builder.call(rint, [builder.fmul(values, _splat(builder, args[3], lanes))])
        scaled = builder.select(keep, scaled, ir.Constant(kind, [0.0] * lanes))
        return builder.fptosi(scaled, ir.VectorType(_I32, lanes)), builder.sext, False
    values = builder.select(keep, values, ir.Constant(values.type, None))
    return values, builder.sext if array.dtype.signed else builder.zext, array.dtype.bitwidth < 32


def _sums(lanes: int) -> Any:
    @intrinsic
    def sums(typing: Any, flat: Any, at: Any, mask: Any, scale: Any) -> Any:
        result = types.UniTuple(types.int64, 3)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            wide = ir.VectorType(_I64, lanes)
            values, extend, small = _masked_integers(context, builder, signature.args[0], args, lanes)
            if small:  # 64 values below 2**16 add up in 32 bits, and so does each square
                values = extend(values, ir.VectorType(_I32, lanes))
                total = extend(_reduce(builder, "add", values), _I64)
                squares = builder.zext(builder.mul(values, values), wide)
                high, low = ir.Constant(_I64, 0), _reduce(builder, "add", squares)
            else:
                values = extend(values, wide)
                total = _reduce(builder, "add", values)
                squares = builder.mul(values, values)
                high = _reduce(builder, "add", builder.lshr(squares, _constant(_I64, 32, lanes)))
                low = _reduce(builder, "add", builder.and_(squares, _constant(_I64, 0xFFFFFFFF, lanes)))
            return context.make_tuple(builder, result, [total, high, low])

        return result(flat, types.intp, types.uint64, types.float32), generate

    return sums


sums_of_word = _sums(64)
sums_of_chunk = _sums(16)


def _places(lanes: int) -> Any:
    @intrinsic
    def places(typing: Any, flat: Any, at: Any, mask: Any, scale: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            values, extend, small = _masked_integers(context, builder, signature.args[0], args, lanes)
            kind = _I32 if small else _I64  # 64 products of 16 and 6 bits add up in 32
            values = extend(values, ir.VectorType(kind, lanes))
            place = ir.Constant(ir.VectorType(kind, lanes), list(range(lanes)))
            found = _reduce(builder, "add", builder.mul(values, place))
            return extend(found, _I64) if small else found

        return types.int64(flat, types.intp, types.uint64, types.float32), generate

    return places


# Values times their place in the word or chunk, added up.
places_of_word = _places(64)
places_of_chunk = _places(16)


@inlined
def before_next(bits: Any, starts: Any) -> Any:
    """The lowest set bits of ``bits``, up to the first start that lies above the lowest."""
    above = starts & ~(bits ^ (bits - ONE))
    return bits & ((above & (~above + ONE)) - ONE)


@inlined
def starts_up_to(starts: Any, bits: Any) -> Any:
    """Number of starts not above the lowest set bit of ``bits``."""
    return popcount(starts & (bits ^ (bits - ONE)))


@inlined
def bundle_of(z: Any, y: Any, ny: Any, bundle: Any) -> Any:
    """Number of the bundle that a row of a block lies in."""
    return z // bundle[0] * ((ny + bundle[1] - 1) // bundle[1]) + y // bundle[1]


@inlined
def runs_of(words: Any, number: Any, w: Any) -> Any:
    """Where runs start in word w of a bundle, and the number of the run that covers the bits below the first start."""
    return words[1][number, w], np.uint64(words[2][number, w]) - ONE


@inlined
def whole_word(flat: Any, at: Any, room: Any) -> Any:
    """Where 64 items can be read from: the array from ``at`` on, or, of its last items, a copy in ``room``."""
    items = flat
    if at + WORD > flat.size:
        for i in range(flat.size - at):
            room[i] = flat[at + i]
        items, at = room, 0
    return items, at


@inlined
def take(component: Any, first: Any, starts: Any, bits: Any, mine: Any) -> Any:
    """Split off the lowest bits of a word that belong to component ``mine``.

    component: of every run; first: number of the run that covers the bits below the first start; bits:
    voxels left. Returns those of ``mine`` up to the next voxel of another component, the bits left, and that
    component.
    """
    group, following = NONE, mine
    while following == mine:
        part = before_next(bits, starts)
        group |= part
        bits ^= part
        if bits == NONE:
            break
        following = component[first + starts_up_to(starts, bits)]
    return group, bits, following

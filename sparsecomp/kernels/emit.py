"""Small words for writing vector code with TVM's script builder; every function emits into the function being built."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tvm.tirx.script.builder.ir as T
from tvm import tirx
from tvm.ir import PointerType, PrimType
from tvm.script.ir_builder import IRBuilder

from sparsecomp.schedules import loops

Expr = Any
Buffer = Any
CACHE_FLOATS = 16  # float32 values of a cache line
STACK_WORD = 16  # bytes of the TVMFFIAny that TVM allocates on the stack
# Marks of loops over workers: of how many units a run begins with the first, channels that a unit writes, and reads.
RUN, WRITES, READS = "sparsecomp.run", "sparsecomp.writes", "sparsecomp.reads"
DEALT = "sparsecomp.dealt"  # marks those whose runs are worth dealing out
WORTH_DEALING = 1 << 19  # multiply-adds of a worker, ten microseconds


def let(name: str, value: Expr) -> Expr:
    """Name a value, computed once."""
    if isinstance(value, int | float):
        return value
    return IRBuilder.name(name, T.Bind(value))


def vector_type(dtype: str, lanes: int) -> str:
    """The type of a vector."""
    return f"{dtype}x{lanes}" if lanes > 1 else dtype


def splat(value: Expr, lanes: int) -> Expr:
    """A vector with the same value, or float constant, in each lane; one lane is a scalar, here and below."""
    value = tirx.const(value, "float32") if isinstance(value, int | float) else value
    return tirx.Broadcast(value, lanes) if lanes > 1 else value


def ramp(start: Expr, lanes: int) -> Expr:
    """The indices of a contiguous vector."""
    return tirx.Ramp(start, 1, lanes) if lanes > 1 else start


def store(buffer: Buffer, value: Expr, *index: Expr) -> None:
    """Write one value or, where the last index is a ramp, a vector."""
    T.buffer_store(buffer, value, list(index))


def local(name: str, size: int, dtype: str = "float32") -> Buffer:
    """An array of 32-bit values that lives in registers; every index into it must be a constant.

    ``alloc_buffer`` would do, but for TVM making a heap workspace of it, which LLVM keeps up to date with stores.
    """
    kind = PointerType(PrimType(dtype), "local")
    words = -(-size * 4 // STACK_WORD)
    data = T.Bind(tirx.call_intrin(kind, "tirx.tvm_stack_alloca", "tvm_ffi_any", words), var=tirx.Var(name, kind))
    return T.decl_buffer((size,), dtype, data=data, scope="local")


def scratch(name: str, size: int) -> Buffer:
    """A float32 array of this thread, aligned to a cache line."""
    return IRBuilder.name(name, T.alloc_buffer((size,), "float32", align=64))


def argument(name: str, shape: Sequence[Expr], dtype: str = "float32") -> Buffer:
    """A buffer parameter."""
    return T.arg(name, T.buffer(tuple(shape), dtype))


def spread(floats: int) -> int:
    """A size in an odd number of cache lines: pieces so far apart are in cache sets of their own."""
    return (-(-floats // CACHE_FLOATS) | 1) * CACHE_FLOATS


@contextmanager
def each_run(
    units: Expr,
    workers: int,
    macs: float = 0,
    together: int = 1,
    limit: Callable[[Expr], Expr] | None = None,
    writes: int = 0,
    reads: int = 0,
) -> Iterator[tuple[Expr, Expr]]:
    """A loop over the workers, each on a thread of its own: where its run of the units begins and ends.

    Runs that are worth it are cut, and dealt out (`sparsecomp.lower.dealing`), or done in pieces in turns with those of
    another kernel (`sparsecomp.lower.chains`): the body has to be right for any run.

    Args:
        units: what there is to do.
        workers: how many there are; one needs no other thread.
        macs: multiply-adds of all units.
        together: units of which a run begins with the first.
        limit: the unit with which the run of a worker begins; else all have as many.
        writes: how many channels of the last argument are those of a unit: of one image, in order; 0 is not so.
        reads: the same of what a unit reads of the first argument.
    """
    at = limit or (lambda worker: worker * units // workers)
    marks = {RUN: together, DEALT: int(macs >= workers * WORTH_DEALING), WRITES: writes, READS: reads}
    with T.parallel(0, workers, annotations=marks) if workers > 1 else T.serial(0, 1) as worker:
        yield let("begin", at(worker)), let("end", at(worker + 1))


def each_plane(
    batch: Expr,
    channels: int,
    workers: int,
    body: Callable[[Expr, Expr], None],
    macs: float = 0,
    reads: int = 0,
) -> None:
    """Run ``body(image, channel)`` for every plane of a batch, which may be symbolic; each worker has a run of them.

    That is a plane of the result; ``reads`` is how many channels of the first argument it is made of, as in `each_run`.
    """
    images = batch if isinstance(batch, int) else let("images", tirx.Cast("int32", batch))
    single = isinstance(batch, int) and batch == 1
    runs = each_run(images * channels, workers, macs, writes=int(single), reads=reads * single)
    with runs as (begin, end), T.serial(begin, end) as plane:
        body(let("image", plane // channels), let("channel", plane % channels))


def below(start: Expr, limit: Expr, lanes: int) -> Expr:
    """The mask of the lanes with ``start + lane < limit``."""
    return ramp(start, lanes) < tirx.Broadcast(limit, lanes)


def inside(start: Expr, limit: Expr, lanes: int) -> Expr:
    """The mask of the lanes with ``0 <= start + lane < limit``."""
    return tirx.And(ramp(start, lanes) >= tirx.Broadcast(tirx.const(0, "int32"), lanes), below(start, limit, lanes))


def load(buffer: Buffer, mask: Expr | None, lanes: int, *index: Expr, outside: float = 0.0) -> Expr:
    """The vector at this index, ``outside`` where the mask is off; nothing is read there. No mask: all of it.

    The masked load has a name of its own: as an operand of the choice it would become a load of all lanes.
    """
    if mask is None:
        return buffer[(*index[:-1], ramp(index[-1], lanes))]
    value = let("value", T.masked_load(f"float32x{lanes}", buffer, *index[:-1], ramp(index[-1], lanes), mask))
    return tirx.Select(mask, value, splat(outside, lanes))  # the lanes that are off are undefined otherwise


def put(buffer: Buffer, value: Expr, mask: Expr | None, lanes: int, *index: Expr) -> None:
    """Write a vector, or those of its lanes whose mask, made by ``below``, is on.

    Masked stores of 256 bits take 20 cycles on AMD processors, so that whole vectors go another way.
    """
    at = (*index[:-1], ramp(index[-1], lanes))
    if mask is None:
        store(buffer, value, *at)
        return
    value = let("value", value)
    with T.If(mask.a.base + (lanes - 1) < mask.b.value):
        with T.Then():
            store(buffer, value, *at)
        with T.Else():
            T.evaluate(T.masked_store(buffer, value, *at, mask))


def clear(buffer: Buffer, size: int, lanes: int) -> None:
    """Write zeros to so many values from the first on, a vector at a time."""
    for i in range(0, size, lanes):
        store(buffer, splat(0.0, lanes), ramp(i, lanes))


def in_powers(count: int) -> Iterator[tuple[int, int]]:
    """Where pieces of a power of two begin, and their sizes, that make up a count; the largest first."""
    first = 0
    while first < count:
        size = 1 << (count - first).bit_length() - 1
        yield first, size
        first += size


def load_first(buffer: Buffer, count: int, lanes: int, *index: Expr) -> Expr:
    """The vector at this index, of which so many lanes are there, and 0 in the others."""
    return load(buffer, None if count >= lanes else below(0, count, lanes), lanes, *index)


def put_first(buffer: Buffer, value: Expr, count: int, lanes: int, *index: Expr) -> None:
    """Write so many lanes of a vector, by stores of 2, 4 ... lanes: masked ones take 20 cycles on AMD processors."""
    if count >= lanes:
        put(buffer, value, None, lanes, *index)
        return
    value = let("value", value)
    for first, size in in_powers(count):
        piece = shuffle([value], list(range(first, first + size)))
        put(buffer, piece, None, size, *index[:-1], index[-1] + first)


def prefetch(buffer: Buffer, *index: Expr, write: bool = False, level: int = 1) -> None:
    """Ask for the cache line of an element, which need not exist, to come to the L1 or L2 cache."""
    T.evaluate(loops.prefetch(buffer, index, write, level).value)


def prefetch_share(buffer: Buffer, start: Expr, step: Expr, share: Expr) -> None:
    """Ask for what one step of many does of what is used after them: so many values of a stretch, to the L2 cache.

    Whoever reads weights for the first time waits for them; what they are multiplied with many times over hides that.
    """
    known = share if isinstance(share, int) else 1  # of a share that is known at run time only, its first line
    for line in range(0, known, CACHE_FLOATS):
        prefetch(buffer, start + step * share + line, level=2)


def each(values: Sequence[int], body: Callable[[Expr, Expr], None]) -> None:
    """Run ``body(index, value)``: a loop where there are many values, evenly spaced, else one after the other."""
    step = values[1] - values[0] if len(values) > 1 else 1
    if len(values) > 1 and all(v == values[0] + i * step for i, v in enumerate(values)):
        with T.serial(0, len(values)) as i:
            body(i, i * step + values[0])
        return
    for index, value in enumerate(values):
        body(index, value)


def guard(condition: Expr | None, body: Callable[[], None]) -> None:
    """Run the body where the condition holds; None is always."""
    if condition is None:
        body()
        return
    with T.If(condition), T.Then():
        body()


def transpose(rows: list[Expr], lanes: int) -> list[Expr]:
    """Transpose a square of ``lanes`` vectors by shuffles within, then across, 128-bit blocks.

    Each step is one instruction (unpack or block shuffle) a vector on x86.
    """
    if lanes == 1:
        return rows
    quads = range(0, lanes, 4)
    low = [q + i for q in quads for i in (0, lanes, 1, lanes + 1)]
    high = [i + 2 for i in low]
    pairs = [shuffle(rows[i // 2 * 2 :][:2], high if i % 2 else low) for i in range(lanes)]
    low = [q + i for q in quads for i in (0, 1, lanes, lanes + 1)]
    high = [i + 2 for i in low]
    fours = [
        shuffle([pairs[base + half], pairs[base + half + 2]], high if odd else low)
        for base in quads
        for half in (0, 1)
        for odd in (0, 1)
    ]
    return _transpose_blocks(fours, lanes)


def _transpose_blocks(fours: list[Expr], lanes: int) -> list[Expr]:
    """``fours[4 * g + c]`` holds, in its block b, column ``4 * b + c`` of the rows ``4 * g ...``."""
    columns: dict[int, Expr] = {}
    for c in range(4):
        stack = fours[c::4]
        for block, value in enumerate(_gather_blocks(stack)):
            columns[4 * block + c] = value
    return [columns[i] for i in range(lanes)]


def _gather_blocks(stack: list[Expr]) -> list[Expr]:
    """Vector b of the result is made of block b of each vector of the stack."""
    if len(stack) == 1:
        return stack
    if len(stack) == 2:
        return [_blocks(stack, (b, 2 + b)) for b in (0, 1)]
    even = [_blocks(stack[i : i + 2], (0, 2, 4, 6)) for i in (0, 2)]
    odd = [_blocks(stack[i : i + 2], (1, 3, 5, 7)) for i in (0, 2)]
    return [_blocks(pair, pick) for pick in ((0, 2, 4, 6), (1, 3, 5, 7)) for pair in (even, odd)]


def _blocks(pair: list[Expr], pick: Sequence[int]) -> Expr:
    """A vector of four-lane blocks picked from the concatenation of two vectors."""
    return shuffle(pair, [4 * b + i for b in pick for i in range(4)])


def shuffle(pair: list[Expr], lanes: list[int]) -> Expr:
    """Lanes picked from the concatenation of two vectors, named so that it is computed once."""
    return let("t", tirx.Shuffle(pair, [tirx.const(i, "int32") for i in lanes]))


def fence(value: Expr, lanes: int) -> Expr:
    """The same float32 vector, into which neither TVM nor LLVM looks to simplify what uses it; it leaves no code."""
    return let("kept", tirx.call_llvm_intrin(vector_type("float32", lanes), "llvm.arithmetic.fence", value))


def fma(a: Expr, b: Expr, c: Expr, lanes: int) -> Expr:
    """``a b + c`` of float32 vectors, rounded once where the device has an instruction for it."""
    return tirx.call_llvm_intrin(vector_type("float32", lanes), "llvm.fmuladd", a, b, c)


def each_in_all_lanes(values: Expr, count: int, lanes: int) -> list[Expr]:
    """For each of a few values a vector with it in all lanes.

    They are loaded once, to every ``count`` lanes of a vector, and spread among those by one shuffle each: behind the
    fence, or LLVM would load every value by itself again.
    """
    kept = fence(shuffle([values] * (lanes // count), list(range(lanes))), lanes)
    return [shuffle([kept], [lane // count * count + i for lane in range(lanes)]) for i in range(count)]

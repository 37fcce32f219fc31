"""Loop nests from Python functions: what the hand-written kernels of this package are made of.

A nest is a value, so that a register tile written once is used by matmul and by attention:

    loop(rows, lambda i: loop(columns, lambda j: store(out, [i, j], load(x, [i, j]) + one)))
"""

from collections.abc import Callable, Sequence
from typing import Any

from tvm import sym, tirx
from tvm.tirx import Buffer, BufferStore, For, ForKind, SeqStmt

from sparsecomp.schedules.parallelize import ALWAYS, PARALLEL, WHERE_IT_PAYS
from sparsecomp.schedules.rewrite import Expr, Stmt, allocate

Dim = Any
INDEX = "int64"
Body = Callable[[Expr], Stmt]


def index(value: Dim) -> Expr:
    """``value`` as an index expression."""
    if isinstance(value, int):
        return tirx.const(value, INDEX)
    return value if str(value.ty.dtype).startswith(INDEX) else value.astype(INDEX)


def loop(extent: Dim, body: Body, kind: ForKind = ForKind.SERIAL, name: str = "i") -> Stmt:
    """``body(i)`` for i in [0, extent)."""
    if isinstance(extent, int) and extent == 1:
        return body(index(0))
    var = tirx.Var(name, INDEX)
    return For(var, index(0), index(extent), kind, body(var))


def unrolled(extent: int, body: Callable[[int], Stmt]) -> Stmt:
    """``body(0)``, ``body(1)``, ... one after another."""
    return sequence([body(k) for k in range(extent)])


def vector(lanes: int, body: Body) -> Stmt:
    """``body`` in one vector."""
    return loop(lanes, body, ForKind.VECTORIZED, "lane")


def independent(extent: Dim, body: Body) -> Stmt:
    """``body(i)`` for i in [0, extent), on threads but where it is known not to pay."""
    var = tirx.Var("task", INDEX)
    return For(var, index(0), index(extent), ForKind.SERIAL, body(var), annotations={PARALLEL: ALWAYS})


def parallel_where_it_pays(extent: Dim, body: Body) -> Stmt:
    """`independent`, for a small body: where the size is symbolic, it decides at run time."""
    var = tirx.Var("task", INDEX)
    return For(var, index(0), index(extent), ForKind.SERIAL, body(var), annotations={PARALLEL: WHERE_IT_PAYS})


def sequence(parts: Sequence[Stmt]) -> Stmt:
    """``parts`` one after another, those of an inner sequence as if they stood here."""
    flat: list[Stmt] = []
    for part in parts:
        flat += list(part.seq) if isinstance(part, SeqStmt) else [part]
    return flat[0] if len(flat) == 1 else SeqStmt(flat)


def store(buffer: Buffer, at: Sequence[Dim], value: Expr) -> Stmt:
    """``buffer[at] = value``."""
    return BufferStore(buffer, value, [index(i) for i in at])


def load(buffer: Buffer, at: Sequence[Dim]) -> Expr:
    """``buffer[at]``."""
    return tirx.BufferLoad(buffer, [index(i) for i in at])


def prefetch(buffer: Buffer, at: Sequence[Dim], write: bool = False, level: int = 2) -> Stmt:
    """Ask for the cache line of ``buffer[at]``, which need not exist, to come to the L1 or L2 cache."""
    place = tirx.call_intrin("handle", "tirx.address_of", load(buffer, at))
    return tirx.Evaluate(tirx.call_intrin("void", "tirx.prefetch", place, int(write), 4 - level, 1))


def local(size: int, name: str, dtype: str = "float32") -> Buffer:
    """A small buffer that the compiler keeps in registers where every index is a constant."""
    return tirx.decl_buffer((index(size),), dtype, name=name, scope="local")


def scratch(shape: Sequence[Dim], name: str, dtype: str = "float32") -> Buffer:
    """Memory of the size of ``shape`` for intermediate values."""
    return tirx.decl_buffer(tuple(index(d) for d in shape), dtype, name=name)


def with_buffers(buffers: Sequence[Buffer], body: Stmt) -> Stmt:
    """``body`` with ``buffers`` to work in."""
    return sequence([*(part for b in buffers for part in allocate(b)), body])


def choose(condition: Expr, then: Stmt, other: Stmt | None = None) -> Stmt:
    """``then`` where ``condition`` holds, else ``other``; decided now where the condition is a constant."""
    known = sym.Analyzer().simplify(condition)
    if isinstance(known, tirx.IntImm):
        return (then if known.value else other) or tirx.Evaluate(tirx.const(0, "int32"))
    return tirx.IfThenElse(known, then, other)


def function(params: Sequence[Buffer], body: Stmt, name: str) -> tirx.PrimFunc:
    """A function of ``params``, the last ones the outputs."""
    func = tirx.PrimFunc(list(params), body)
    return func.with_attr({"global_symbol": name, "s_tir": True})

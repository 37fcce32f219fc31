"""Loops marked as parallel run on threads where the work pays for starting them.

A rule marks a loop whose iterations are independent with the annotation `PARALLEL`; what the loop costs is known only
here, after inlining. Where the size is symbolic both forms are kept and the size decides at run time, but for loops
marked `ALWAYS`, whose bodies are too large to keep twice.
"""

from tvm import ir, sym, tirx
from tvm.tirx import BufferStore, For, ForKind, IfThenElse, SeqStmt

from sparsecomp.schedules.rewrite import Expr, Stmt, map_stmt, statements, substitute, walk

PARALLEL = "sparsecomp.parallel"
WHERE_IT_PAYS, ALWAYS = 1, 2
# Scalar operations below which waking the other threads costs more than they save: about 10 microseconds.
MIN_WORK = 1 << 16
EXPENSIVE = {"tirx.exp": 8, "tirx.erf": 10, "tirx.tanh": 10, "tirx.sigmoid": 10, "tirx.pow": 40, "tirx.log": 20}
# Chunks of a flat loop start at multiples of this many elements, so that no two threads write one cache line.
CHUNK = 64


def _store_cost(store: BufferStore) -> int:
    calls = [e.op.name for e in walk(store.value) if isinstance(e, ir.Call) and isinstance(e.op, ir.Op)]
    loads = sum(isinstance(e, ir.TensorLoad) for e in walk(store.value))
    return 1 + loads + sum(EXPENSIVE.get(name, 1) for name in calls)


def cost(stmt: Stmt) -> Expr:
    """Scalar operations of one run of ``stmt``, about."""
    match stmt:
        case BufferStore():
            return tirx.const(_store_cost(stmt), "int64")
        case For():
            return stmt.extent.astype("int64") * cost(stmt.body)
        case SeqStmt():
            return sum((cost(child) for child in stmt.seq), tirx.const(0, "int64"))
        case IfThenElse():
            return cost(stmt.then_case)
        case tirx.AttrStmt() | tirx.While():
            return cost(stmt.body)
    return tirx.const(0, "int64")


def _is_innermost(loop: For) -> bool:
    return not any(isinstance(s, For) for s in statements(loop.body))


def _chunked(loop: For, cores: int) -> For:
    """A flat loop as one long run for each core."""
    like = loop.extent.ty.dtype
    cut = cores * CHUNK
    chunk = (loop.extent + tirx.const(cut - 1, like)) // tirx.const(cut, like) * tirx.const(CHUNK, like)
    outer, inner = tirx.Var("core", like), tirx.Var("i", like)
    size = tirx.max(tirx.min(loop.extent - outer * chunk, chunk), tirx.const(0, like))
    body = substitute(loop.body, {loop.loop_var: outer * chunk + inner})
    run = For(inner, tirx.const(0, like), sym.Analyzer().simplify(size), ForKind.SERIAL, body)
    return For(outer, tirx.const(0, like), tirx.const(cores, like), ForKind.PARALLEL, run)


def _on_threads(loop: For, cores: int) -> For:
    if _is_innermost(loop):
        return _chunked(loop, cores)
    return For(loop.loop_var, loop.min, loop.extent, ForKind.PARALLEL, loop.body)


def _free_variables(expr: Expr, inside: Stmt) -> bool:
    bound = {s.loop_var for s in statements(inside) if isinstance(s, For)}
    return any(isinstance(e, tirx.Var) and e in bound for e in walk(expr))


def parallelize(body: Stmt, cores: int) -> Stmt:
    """``body`` with each loop marked `PARALLEL` made parallel, serial, or either by its size."""

    def change(stmt: Stmt) -> Stmt:
        if not isinstance(stmt, For) or PARALLEL not in stmt.annotations:
            return stmt
        plain = For(stmt.loop_var, stmt.min, stmt.extent, ForKind.SERIAL, stmt.body)
        work = sym.Analyzer().simplify(cost(plain))
        if cores == 1 or _free_variables(work, plain):
            return plain
        if isinstance(work, tirx.IntImm):
            return _on_threads(plain, cores) if work.value >= MIN_WORK else plain
        if stmt.annotations[PARALLEL] == ALWAYS:
            return _on_threads(plain, cores)
        return IfThenElse(work >= tirx.const(MIN_WORK, "int64"), _on_threads(plain, cores), plain)

    return map_stmt(body, change)

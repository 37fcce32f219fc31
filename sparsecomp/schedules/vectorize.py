"""The innermost loops of a lowered function in vectors of the target's lanes, with a scalar loop for what is left over.

TVM's own split guards a size that is not a multiple of the lanes by a condition on every element, which costs the
vectors. Here the loop is cut in two, so that any size, symbolic ones too, runs in whole vectors:

    for i in range(n): B[i] = f(A[i])           for j in range(n // 16): for i in vectorized(16): B[j * 16 + i] = f(...)
                                                for i in range(n % 16): B[n // 16 * 16 + i] = f(...)

A loop that accumulates one value (``s = s + f(i)``, max and min likewise) keeps vectors of partial results.
"""

from dataclasses import dataclass

from tvm import ir, sym, tirx
from tvm.ir import prim
from tvm.tirx import BufferStore, For, ForKind, SeqStmt

from sparsecomp.schedules.peel import peeled
from sparsecomp.schedules.rewrite import (
    Expr,
    Stmt,
    allocate,
    expressions,
    for_like,
    map_stmt,
    replace,
    statements,
    substitute,
    walk,
)

# Independent partial results, enough to hide the latency of an addition.
ACCUMULATORS = 4
COMBINE = (prim.Add, prim.Max, prim.Min)


def stride(index: Expr, var: tirx.Var) -> int | None:
    """What one step of ``var`` adds to ``index``; None where that is not a constant."""
    if not any(e.same_as(var) for e in walk(index)):
        return 0
    step = sym.Analyzer().simplify(replace(index, {var: var + tirx.const(1, var.ty.dtype)}) - index)
    return int(step) if isinstance(step, tirx.IntImm) else None


def _depends(expr: Expr, var: tirx.Var) -> bool:
    return any(e.same_as(var) for e in walk(expr))


def _same_index(a: list[Expr], b: list[Expr]) -> bool:
    analyzer = sym.Analyzer()
    return len(a) == len(b) and all(analyzer.can_prove_equal(x, y) for x, y in zip(a, b, strict=True))


def _stores(body: Stmt) -> list[BufferStore] | None:
    """The stores that ``body`` consists of; None where it holds anything else."""
    parts = list(body.seq) if isinstance(body, SeqStmt) else [body]
    return parts if all(isinstance(p, BufferStore) for p in parts) else None


def _guards_load(node: Expr, var: tirx.Var) -> bool:
    """Whether ``node`` chooses by ``var`` between values of which one may not be loaded."""
    if not isinstance(node, ir.Call) or not node.op.same_as(ir.Op.get("prim.if_then_else")):
        return False
    return _depends(node.args[0], var) and any(isinstance(e, ir.TensorLoad) for a in node.args[1:] for e in walk(a))


def _is_elementwise(loop: For, stores: list[BufferStore]) -> bool:
    var = loop.loop_var
    if any(len(s.indices) != 1 or stride(s.indices[0], var) != 1 for s in stores):
        return False
    for e in expressions(loop.body):
        if _guards_load(e, var):
            return False
        if isinstance(e, ir.TensorLoad):
            written = [s for s in stores if s.buffer.same_as(e.source)]
            if any(not _same_index(list(s.indices), list(e.indices)) for s in written):
                return False
    return True


def _select(node: Expr) -> Expr:
    """A choice without loads as a Select, which has a vector form."""
    if not isinstance(node, ir.Call) or not node.op.same_as(ir.Op.get("prim.if_then_else")):
        return node
    return node if any(isinstance(e, ir.TensorLoad) for e in walk(node)) else tirx.Select(*node.args)


@dataclass(frozen=True)
class _Strip:
    """Cuts of one loop: a body for each range, in terms of a start and a number of steps."""

    loop: For

    def const(self, value: int) -> Expr:
        return tirx.const(value, self.loop.loop_var.ty.dtype)

    def over(self, kind: ForKind, extent: Expr, at: Expr, body: Stmt) -> For:
        """``for i in kind(extent)``: ``body`` at loop variable ``at + i``."""
        var = tirx.Var(self.loop.loop_var.name, self.loop.loop_var.ty.dtype)
        return For(var, self.const(0), extent, kind, substitute(body, {self.loop.loop_var: at + var}))

    def vectors(self, begin: Expr, count: Expr, step: int, body: Stmt) -> Stmt:
        """``count`` times, ``body`` on ``step`` lanes."""
        outer = tirx.Var("v", self.loop.loop_var.ty.dtype)
        inner = self.over(ForKind.VECTORIZED, self.const(step), begin + outer * self.const(step), body)
        return For(outer, self.const(0), count, ForKind.SERIAL, inner)


def _sequence(parts: list[Stmt]) -> Stmt:
    kept = [p for p in parts if not (isinstance(p, For) and isinstance(p.extent, tirx.IntImm) and p.extent.value == 0)]
    return kept[0] if len(kept) == 1 else SeqStmt(kept)


def _elementwise(loop: For, lanes: int) -> Stmt:
    strip, simplify = _Strip(loop), sym.Analyzer().simplify
    body = map_stmt(loop.body, lambda s: s, _select)
    count = simplify(loop.extent // strip.const(lanes))
    done = simplify(count * strip.const(lanes))
    rest = strip.over(ForKind.SERIAL, simplify(loop.extent - done), loop.min + done, body)
    return _sequence([strip.vectors(loop.min, count, lanes, body), rest])


def _reduction_of(loop: For, store: BufferStore) -> tuple[type, Expr] | None:
    """The operator and the term, where the loop is ``s = operator(s, term)``."""
    if type(store.value) not in COMBINE or any(stride(i, loop.loop_var) != 0 for i in store.indices):
        return None
    for kept, term in ((store.value.a, store.value.b), (store.value.b, store.value.a)):
        own = isinstance(kept, ir.TensorLoad) and kept.source.same_as(store.buffer)
        if own and _same_index(list(kept.indices), list(store.indices)):
            loads = [e for e in walk(term) if isinstance(e, ir.TensorLoad)]
            plain = all(
                stride(e.indices[0], loop.loop_var) in (0, 1) and not e.source.same_as(store.buffer) for e in loads
            )
            guarded = any(_guards_load(e, loop.loop_var) for e in walk(term))
            return (type(store.value), term) if plain and not guarded else None
    return None


def _identity(operator: type, dtype: str) -> Expr:
    if operator is prim.Add:
        return tirx.const(0, dtype)
    return tirx.min_value(dtype) if operator is prim.Max else tirx.max_value(dtype)


def _reduction(loop: For, store: BufferStore, operator: type, term: Expr, lanes: int) -> Stmt:
    strip, simplify, var = _Strip(loop), sym.Analyzer().simplify, loop.loop_var
    known = loop.extent.value if isinstance(loop.extent, tirx.IntImm) else None
    wide = ACCUMULATORS if known is None or known >= 2 * ACCUMULATORS * lanes else 1
    dtype = str(store.value.ty.dtype)
    part = tirx.decl_buffer((wide * lanes,), dtype, name="partial", scope="local")

    def lane(at: int, value: Expr) -> Stmt:
        position = strip.const(at) + var
        old = tirx.BufferLoad(part, [position])
        return BufferStore(part, operator(old, value), [position])

    def each(width: int, body: Stmt) -> Stmt:
        return strip.over(ForKind.VECTORIZED, strip.const(width), strip.const(0), body)

    def run(begin: Expr, count: Expr, vectors: int) -> Stmt:
        outer = tirx.Var("v", var.ty.dtype)
        at = [begin + outer * strip.const(vectors * lanes) + strip.const(k * lanes) for k in range(vectors)]
        bodies = [each(lanes, lane(k * lanes, replace(term, {var: at[k] + var}))) for k in range(vectors)]
        return For(outer, strip.const(0), count, ForKind.SERIAL, _sequence(bodies))

    start = [
        each(lanes, BufferStore(part, _identity(operator, dtype), [strip.const(k * lanes) + var])) for k in range(wide)
    ]
    count = simplify(loop.extent // strip.const(wide * lanes))
    begun = simplify(count * strip.const(wide * lanes))
    single = simplify((loop.extent - begun) // strip.const(lanes))
    done = simplify(begun + single * strip.const(lanes))
    runs = [run(loop.min, count, wide)] + ([run(loop.min + begun, single, 1)] if wide > 1 else [])
    joins = [each(lanes, lane(0, tirx.BufferLoad(part, [strip.const(k * lanes) + var]))) for k in range(1, wide)]
    half = lanes // 2
    while half:
        joins.append(each(half, lane(0, tirx.BufferLoad(part, [strip.const(half) + var]))))
        half //= 2
    total = operator(tirx.BufferLoad(store.buffer, store.indices), tirx.BufferLoad(part, [strip.const(0)]))
    rest = strip.over(ForKind.SERIAL, simplify(loop.extent - done), loop.min + done, store)
    result = BufferStore(store.buffer, total, store.indices)
    return _sequence([*allocate(part), *start, *runs, *joins, result, rest])


def _apart(loop: For) -> list[For]:
    """A loop for each store, where every store needs only its own buffer of those stored: sum and sum of squares."""
    parts = list(loop.body.seq) if isinstance(loop.body, SeqStmt) else []
    bound: dict[tirx.Var, Expr] = {}
    stores: list[BufferStore] = []
    for part in parts:
        if isinstance(part, tirx.Bind) and not stores:
            bound[part.var] = replace(part.value, bound)
        elif isinstance(part, BufferStore):
            stores.append(BufferStore(part.buffer, replace(part.value, bound), part.indices))
        else:
            return [loop]
    for store in stores:
        read = [e.source for e in walk(store.value) if isinstance(e, ir.TensorLoad)]
        if any(s.buffer.same_as(b) for s in stores if not s.buffer.same_as(store.buffer) for b in read):
            return [loop]
    sums = len(stores) > 1 and all(_reduction_of(loop, store) is not None for store in stores)
    return [for_like(loop, store) for store in stores] if bound or sums else [loop]


def _strip(loop: For, lanes: int) -> Stmt:
    stores = _stores(loop.body)
    if stores is None or (isinstance(loop.extent, tirx.IntImm) and loop.extent.value < lanes):
        return loop
    if _is_elementwise(loop, stores):
        return _elementwise(loop, lanes)
    found = _reduction_of(loop, stores[0]) if len(stores) == 1 else None
    return loop if found is None else _reduction(loop, stores[0], *found, lanes)


def vectorize(body: Stmt, lanes: int) -> Stmt:
    """``body`` with every innermost serial loop that allows it in vectors of ``lanes``."""

    def change(stmt: Stmt) -> Stmt:
        inner = isinstance(stmt, For) and stmt.kind == ForKind.SERIAL
        if not inner or any(isinstance(s, For) for s in statements(stmt.body)):
            return stmt
        return _sequence([_strip(part, lanes) for single in _apart(stmt) for part in peeled(single)])

    return map_stmt(body, change)

"""Cuts a loop where a condition on its variable changes, so that each part runs without the condition.

Padding, concatenation and slices choose by position: ``if_then_else(1 <= i and i < 57, x[i - 1], 0)``. In three loops
the choice is gone, and what is left vectorises.
"""

from itertools import pairwise

from tvm import ir, sym, tirx
from tvm.ir import prim
from tvm.tirx import For, ForKind
from tvm_ffi import structural_equal

from sparsecomp.schedules.rewrite import Expr, expressions, map_stmt, replace, substitute, walk

CHOICE = "prim.if_then_else"
MAX_CUTS = 3


def _conditions(loop: For) -> list[Expr]:
    """Comparisons inside the choices of ``loop`` that depend on its variable."""
    found: list[Expr] = []
    for e in expressions(loop.body):
        if isinstance(e, ir.Call) and e.op.same_as(ir.Op.get(CHOICE)):
            found += [c for c in walk(e.args[0]) if isinstance(c, (prim.LT, prim.LE, prim.GT, prim.GE))]
    unique: list[Expr] = []
    for c in found:
        if any(e.same_as(loop.loop_var) for e in walk(c)) and not any(structural_equal(c, u) for u in unique):
            unique.append(c)
    return unique


def _turning_point(condition: Expr, var: tirx.Var) -> tuple[Expr, bool] | None:
    """The first value of ``var`` where ``condition`` is another, and what it is before; None where it is not linear."""
    simplify = sym.Analyzer().simplify
    if isinstance(condition, (prim.GT, prim.GE)):
        strict, low, high = isinstance(condition, prim.GT), condition.b, condition.a
    else:
        strict, low, high = isinstance(condition, prim.LT), condition.a, condition.b
    gap = high - low
    zero, one = tirx.const(0, var.ty.dtype), tirx.const(1, var.ty.dtype)
    step = simplify(replace(gap, {var: var + one}) - gap)
    if not isinstance(step, tirx.IntImm) or abs(step.value) != 1:
        return None
    base = simplify(replace(gap, {var: zero}))
    # strict: gap > 0, else gap >= 0, where gap = base +- var.
    if step.value == -1:
        return (base if strict else simplify(base + one)), True
    return simplify(one - base if strict else zero - base), False


def _cuts(loop: For) -> list[tuple[Expr, Expr, bool]]:
    """(point, condition, its value before the point) in provably rising order of the points."""
    analyzer = sym.Analyzer()
    cuts: list[tuple[Expr, Expr, bool]] = []
    for condition in _conditions(loop):
        turn = _turning_point(condition, loop.loop_var)
        if turn is None or len(cuts) == MAX_CUTS:
            continue
        place = 0
        while place < len(cuts) and analyzer.can_prove(cuts[place][0] <= turn[0]):
            place += 1
        if all(analyzer.can_prove(turn[0] <= later[0]) for later in cuts[place:]):
            cuts.insert(place, (turn[0], condition, turn[1]))
    return cuts


def _decided(loop: For, values: list[tuple[Expr, bool]], begin: Expr, extent: Expr) -> For:
    simplify = sym.Analyzer().simplify

    def change(e: Expr) -> Expr:
        for condition, value in values:
            if type(e) is type(condition) and structural_equal(e, condition):
                return tirx.const(value, "bool")
        if isinstance(e, (prim.And, prim.Or)):
            return simplify(e)
        if isinstance(e, ir.Call) and e.op.same_as(ir.Op.get(CHOICE)) and isinstance(e.args[0], tirx.IntImm):
            return e.args[1] if e.args[0].value else e.args[2]
        return e

    var = tirx.Var(loop.loop_var.name, loop.loop_var.ty.dtype)
    body = substitute(map_stmt(loop.body, lambda s: s, change), {loop.loop_var: begin + var})
    return For(var, tirx.const(0, var.ty.dtype), extent, ForKind.SERIAL, body)


def peeled(loop: For) -> list[For]:
    """Loops that together do what ``loop`` does, in order."""
    cuts = _cuts(loop)
    if not cuts:
        return [loop]
    simplify = sym.Analyzer().simplify
    zero = tirx.const(0, loop.loop_var.ty.dtype)
    points = [zero, *[simplify(tirx.max(tirx.min(c[0], loop.extent), zero)) for c in cuts], loop.extent]
    parts = []
    for k, (begin, end) in enumerate(pairwise(points)):
        values = [(cond, before if n >= k else not before) for n, (_, cond, before) in enumerate(cuts)]
        extent = simplify(end - begin)
        if not (isinstance(extent, tirx.IntImm) and extent.value == 0):
            parts.append(_decided(loop, values, begin, extent))
    return parts

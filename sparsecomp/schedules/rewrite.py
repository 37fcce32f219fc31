"""Rebuilding TIR from Python: one bottom-up walk over statements and expressions.

TVM exports no statement or expression mutator to Python, so the few rewrites of this package share this one.
"""

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

from tvm import DataType, ir, tirx
from tvm.ir import Call, TensorLoad
from tvm.ir import prim as prim_module
from tvm.tirx import BufferStore, For, IfThenElse, SeqStmt

# TVM has no type stubs.
Expr = Any
Stmt = Any
ExprMap = Callable[[Expr], Expr]

# Bytes that `tvm_stack_alloca` counts in.
STACK_WORD = 16
MAX_STACK = 8 * 1024
BINARY = (prim_module.expr.BinaryOpExpr, prim_module.expr.CmpExpr, prim_module.And, prim_module.Or)


def children(node: Expr) -> list[Expr]:
    """The expressions directly below ``node``."""
    match node:
        case TensorLoad():
            return list(node.indices)
        case Call():
            return [arg for arg in node.args if isinstance(arg, ir.Expr)]
        case prim_module.Select():
            return [node.condition, node.true_value, node.false_value]
        case prim_module.Let():
            return [node.value, node.body]
        case prim_module.Cast() | prim_module.Broadcast():
            return [node.value]
        case prim_module.Ramp():
            return [node.base, node.stride]
        case prim_module.Shuffle():
            return list(node.vectors)
        case prim_module.Not() | prim_module.BitwiseNot():
            return [node.a]
        case _ if isinstance(node, BINARY):
            return [node.a, node.b]
    return []


def _with_children(node: Expr, new: list[Expr]) -> Expr:
    match node:
        case TensorLoad():
            return tirx.BufferLoad(node.source, new)
        case Call():
            rest = iter(new)
            args = [next(rest) if isinstance(arg, ir.Expr) else arg for arg in node.args]
            return Call(node.op, args, attrs=node.attrs, ty_args=node.ty_args, ret_ty=node.ty)
        case prim_module.Let():
            return prim_module.Let(node.var, *new)
        case prim_module.Cast():
            return prim_module.Cast(node.ty, *new)
        case prim_module.Broadcast():
            return prim_module.Broadcast(new[0], node.lanes)
        case prim_module.Ramp():
            return prim_module.Ramp(*new, node.lanes)
        case prim_module.Shuffle():
            return prim_module.Shuffle(new, node.indices)
    return type(node)(*new)


def walk(node: Expr) -> Iterator[Expr]:
    """Every expression below ``node``, itself included, parents first."""
    yield node
    for child in children(node):
        yield from walk(child)


def map_expr(node: Expr, change: ExprMap) -> Expr:
    """``node`` with ``change`` applied to every expression in it, children first."""
    old = children(node)
    new = [map_expr(child, change) for child in old]
    if any(not a.same_as(b) for a, b in zip(old, new, strict=True)):
        node = _with_children(node, new)
    return change(node)


def replace(node: Expr, values: dict[tirx.Var, Expr]) -> Expr:
    """``node`` with variables replaced by expressions."""
    return map_expr(node, lambda e: values.get(e, e) if isinstance(e, tirx.Var) else e)


def map_stmt(node: Stmt, change: Callable[[Stmt], Stmt], expr: ExprMap = lambda e: e) -> Stmt:
    """``node`` with ``expr`` applied to every expression and then ``change`` to every statement, children first."""
    return change(_map_inside(node, change, expr))


def substitute(node: Stmt, values: dict[tirx.Var, Expr]) -> Stmt:
    """``node`` with variables replaced by expressions."""
    return map_stmt(node, lambda s: s, lambda e: values.get(e, e) if isinstance(e, tirx.Var) else e)


def _map_inside(node: Stmt, change: Callable[[Stmt], Stmt], expr: ExprMap) -> Stmt:
    match node:
        case BufferStore():
            return BufferStore(node.buffer, map_expr(node.value, expr), [map_expr(i, expr) for i in node.indices])
        case For():
            return for_like(node, map_stmt(node.body, change, expr), map_expr(node.extent, expr))
        case SeqStmt():
            return SeqStmt([map_stmt(child, change, expr) for child in node.seq])
        case IfThenElse():
            other = None if node.else_case is None else map_stmt(node.else_case, change, expr)
            return IfThenElse(map_expr(node.condition, expr), map_stmt(node.then_case, change, expr), other)
        case tirx.AttrStmt():
            return tirx.AttrStmt(node.node, node.attr_key, node.value, map_stmt(node.body, change, expr))
        case tirx.Bind():
            return tirx.Bind(node.var, map_expr(node.value, expr))
        case tirx.Evaluate():
            return tirx.Evaluate(map_expr(node.value, expr))
        case tirx.While():
            return tirx.While(map_expr(node.condition, expr), map_stmt(node.body, change, expr))
    return node


def for_like(loop: For, body: Stmt, extent: Expr | None = None) -> For:
    """``loop`` around another body."""
    size = loop.extent if extent is None else extent
    return For(loop.loop_var, loop.min, size, loop.kind, body, loop.thread_binding, loop.annotations)


def statements(node: Stmt) -> Iterator[Stmt]:
    """Every statement below ``node``, itself included, parents first."""
    yield node
    match node:
        case For() | tirx.AttrStmt() | tirx.While():
            yield from statements(node.body)
        case SeqStmt():
            for child in node.seq:
                yield from statements(child)
        case IfThenElse():
            yield from statements(node.then_case)
            if node.else_case is not None:
                yield from statements(node.else_case)


def expressions(node: Stmt) -> Iterator[Expr]:
    """Every expression of every statement below ``node``."""
    for stmt in statements(node):
        match stmt:
            case BufferStore():
                roots = [stmt.value, *stmt.indices]
            case tirx.Bind() | tirx.Evaluate():
                roots = [stmt.value]
            case IfThenElse() | tirx.While():
                roots = [stmt.condition]
            case For():
                roots = [stmt.min, stmt.extent]
            case _:
                roots = []
        for root in roots:
            yield from walk(root)


def allocate(buffer: tirx.Buffer) -> list[Stmt]:
    """Memory for ``buffer``, for the statements that follow; on the stack, and so perhaps in registers, if it is small.

    TVM makes a workspace on the heap of every buffer in a parallel loop, however small.
    """
    if any(not isinstance(d, tirx.IntImm) for d in buffer.shape):
        return [tirx.AllocBuffer(buffer)]
    size = prod(d.value for d in buffer.shape) * DataType(buffer.dtype).bits // 8
    if size > MAX_STACK:
        return [tirx.AllocBuffer(buffer)]
    kind = ir.PointerType(ir.PrimType(buffer.dtype), buffer.scope())
    memory = tirx.Var(buffer.name, kind)
    reserve = tirx.call_intrin(kind, "tirx.tvm_stack_alloca", "tvm_ffi_any", -(-size // STACK_WORD))
    return [tirx.Bind(memory, reserve), tirx.DeclBuffer(buffer, data=memory)]


def small_on_stack(stmt: Stmt) -> Stmt:
    """``stmt``, its small buffers on the stack; for `map_stmt`."""
    if not isinstance(stmt, SeqStmt):
        return stmt
    return SeqStmt([p for s in stmt.seq for p in (allocate(s.buffer) if isinstance(s, tirx.AllocBuffer) else [s])])

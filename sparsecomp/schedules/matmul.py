"""Functions that are one product of two activations, with element-wise work after it at most."""

from dataclasses import dataclass

from tvm import tirx
from tvm.ir import TensorLoad, prim
from tvm.s_tir import SBlock, SBlockRealize, Schedule
from tvm.tirx import BufferStore, IterVar

from sparsecomp.schedules.arrange import arrange
from sparsecomp.schedules.blocks import REDUCE, Block, blocks_of, inline_injective, is_regular, mark_parallel
from sparsecomp.schedules.loops import Dim, sequence
from sparsecomp.schedules.product import Product, product_nest
from sparsecomp.schedules.rewrite import Expr, Stmt, replace, walk
from sparsecomp.schedules.tiles import tile_for
from sparsecomp.targets.base import Target


@dataclass(frozen=True)
class _Match:
    """The axes of a block that is a product: any number of batch axes, one of rows, columns and depth each."""

    batch: list[IterVar]
    row: IterVar
    column: IterVar
    depth: IterVar
    left: TensorLoad
    right: TensorLoad
    out: BufferStore


def matmul(func: tirx.PrimFunc, target: Target) -> Schedule | None:
    """The product in register tiles, then what follows it; None where there is no product, or another reduction."""
    if not is_regular(func):
        return None
    sch = Schedule(func)
    inline_injective(sch)
    reductions = [b for b in blocks_of(sch) if b.is_reduction]
    match = _match(reductions[0]) if len(reductions) == 1 else None
    if match is None:
        return None
    for block in blocks_of(sch):
        if not block.is_reduction:
            mark_parallel(sch, arrange(sch, block))
    return Schedule(_with_nest(sch.mod["main"], reductions[0], product_nest(_product(match), tile_for(target))))


def _match(block: Block) -> _Match | None:
    store, depth = block.stores()[0], [v for v in block.stmt.iter_vars if v.iter_type == REDUCE]
    value = store.value.b if isinstance(store.value, prim.Add) else None
    if len(depth) != 1 or not isinstance(value, prim.Mul) or len(block.spatial) < 2:
        return None
    sides = (value.a, value.b)
    *batch, row, column = block.spatial
    if not all(isinstance(side, TensorLoad) and str(side.ty.dtype) == "float32" for side in sides):
        return None
    if not _reads(sides[0], depth[0], row, column) or not _reads(sides[1], depth[0], column, row):
        return None
    return _Match(batch, row, column, depth[0], sides[0], sides[1], store)


def _reads(side: TensorLoad, depth: IterVar, own: IterVar, other: IterVar) -> bool:
    """Whether ``side`` is indexed by the depth and its own axis, plainly, and not by the other side's."""
    used = [e for i in side.indices for e in walk(i)]
    plain = [any(i.same_as(v.var) for i in side.indices) for v in (depth, own)]
    return all(plain) and not any(e.same_as(other.var) for e in used)


def _product(match: _Match) -> Product:
    sizes = [axis.dom.extent for axis in match.batch]
    count: Expr = tirx.const(1, "int64")
    for size in sizes:
        count = count * size

    def at(batch: Expr, row: Expr, column: Expr, k: Expr) -> dict[tirx.Var, Expr]:
        values = {match.row.var: row, match.column.var: column, match.depth.var: k}
        for axis, size in reversed(list(zip(match.batch, sizes, strict=True))):
            values[axis.var] = batch % size
            batch = batch // size
        return values

    zero = tirx.const(0, "int64")
    return Product(
        batch=_dim(count),
        rows=_dim(match.row.dom.extent),
        columns=_dim(match.column.dom.extent),
        depth=_dim(match.depth.dom.extent),
        left=lambda b, row, k: replace(match.left, at(b, row, zero, k)),
        right=lambda b, k, column: replace(match.right, at(b, zero, column, k)),
        put=lambda b, row, column, value: _put(match.out, at(b, row, column, zero), value),
    )


def _dim(extent: Expr) -> Dim:
    return int(extent) if isinstance(extent, tirx.IntImm) else extent


def _put(out: BufferStore, values: dict[tirx.Var, Expr], value: Expr) -> Stmt:
    return BufferStore(out.buffer, value, [replace(i, values) for i in out.indices])


def _with_nest(func: tirx.PrimFunc, block: Block, nest: Stmt) -> tirx.PrimFunc:
    """``func`` with the loops around ``block`` replaced by ``nest``."""
    root = func.body.block
    parts = list(root.body.seq) if isinstance(root.body, tirx.SeqStmt) else [root.body]
    body = sequence([nest if _inner(part).name_hint == block.stmt.name_hint else part for part in parts])
    new = SBlock([], root.reads, root.writes, "root", body, None, root.alloc_buffers)
    return func.with_body(SBlockRealize([], True, new))


def _inner(stmt: Stmt) -> SBlock:
    while isinstance(stmt, tirx.For):
        stmt = stmt.body
    return stmt.block

"""What the rules ask of the blocks of an unscheduled function, and the steps that several of them share."""

from dataclasses import dataclass

from tvm import ir, s_tir, sym, tirx
from tvm.ir import TensorLoad, prim
from tvm.s_tir import Schedule
from tvm.tirx import BufferStore, IterVar
from tvm_ffi import structural_equal

from sparsecomp.schedules.parallelize import EXPENSIVE, PARALLEL, WHERE_IT_PAYS
from sparsecomp.schedules.rewrite import Expr, children, expressions, statements, walk
from sparsecomp.schedules.vectorize import stride

SPATIAL, REDUCE = IterVar.DataPar, IterVar.CommReduce


@dataclass(frozen=True)
class Block:
    """A block of a schedule: its handle and its statement as it was when looked at."""

    handle: s_tir.schedule.SBlockRV
    stmt: s_tir.SBlock

    @property
    def is_reduction(self) -> bool:
        """Whether any axis is reduced."""
        return any(v.iter_type == REDUCE for v in self.stmt.iter_vars)

    @property
    def spatial(self) -> list[IterVar]:
        """The axes that are not reduced."""
        return [v for v in self.stmt.iter_vars if v.iter_type == SPATIAL]

    def stores(self) -> list[BufferStore]:
        """The stores of the block."""
        return [s for s in statements(self.stmt.body) if isinstance(s, BufferStore)]

    def loads(self) -> list[TensorLoad]:
        """The loads of the block, without those of the value that it accumulates."""
        own = self.stmt.writes[0].source
        return [e for e in expressions(self.stmt.body) if isinstance(e, TensorLoad) and not e.source.same_as(own)]


def flat_index(load: TensorLoad | BufferStore) -> Expr:
    """The position in memory that ``load`` touches, in elements."""
    buffer = load.buffer if isinstance(load, BufferStore) else load.source
    return buffer.offset_of(list(load.indices))[0]


def blocks_of(sch: Schedule) -> list[Block]:
    """The blocks below the root, in program order."""
    root = sch.get_sblock("root")
    return [Block(b, sch.get(b)) for b in sch.get_child_blocks(root)]


def is_regular(func: tirx.PrimFunc) -> bool:
    """Whether ``func`` is a list of blocks, each under its own loops, with spatial and reduction axes only."""
    root = func.body
    if not isinstance(root, s_tir.SBlockRealize) or root.block.name_hint != "root":
        return False
    body = root.block.body
    nests = list(body.seq) if isinstance(body, tirx.SeqStmt) else [body]
    return all(_is_regular_nest(nest) for nest in nests)


def _is_regular_nest(stmt: tirx.Stmt) -> bool:
    while isinstance(stmt, tirx.For):
        stmt = stmt.body
    if not isinstance(stmt, s_tir.SBlockRealize) or not stmt.block.writes:
        return False
    axes = stmt.block.iter_vars
    plain = all(isinstance(v, tirx.Var) for v in stmt.iter_values) or not axes
    return (
        plain
        and all(v.iter_type in (SPATIAL, REDUCE) for v in axes)
        and all(isinstance(s, (BufferStore, tirx.Bind, tirx.SeqStmt)) for s in statements(stmt.block.body))
    )


def _is_cheap(block: Block) -> bool:
    names = [e.op.name for e in expressions(block.stmt.body) if isinstance(e, ir.Call) and isinstance(e.op, ir.Op)]
    divides = any(isinstance(e, prim.Div) for e in expressions(block.stmt.body))
    return not divides and not any(n in EXPENSIVE or n in ("tirx.rsqrt", "tirx.sqrt") for n in names)


def _chooses(block: Block) -> bool:
    return any(
        isinstance(e, ir.Call) and e.op.same_as(ir.Op.get("prim.if_then_else")) for e in expressions(block.stmt.body)
    )


def _may_inline(sch: Schedule, block: Block) -> bool:
    """Whether computing ``block`` where it is read costs no more than storing it."""
    consumers = [Block(c, sch.get(c)) for c in sch.get_consumers(block.handle)]
    reduced = [c for c in consumers if c.is_reduction]
    if reduced and _chooses(block):
        return False
    if _is_cheap(block) or (not reduced and len(consumers) == 1):
        return not reduced or all(len(c.stmt.iter_vars) == len(block.spatial) for c in reduced)
    return len(consumers) == 1 and all(len(c.stmt.iter_vars) == len(block.spatial) for c in consumers)


def inline_injective(sch: Schedule) -> None:
    """Inlines every block without a reduction that is not an output and that `_may_inline`."""
    outputs = {sch.get(b).name_hint for b in sch.get_output_blocks(sch.get_sblock("root"))}
    for block in blocks_of(sch):
        if block.is_reduction or block.stmt.name_hint in outputs or not _may_inline(sch, block):
            continue
        try:
            sch.compute_inline(block.handle)
        except s_tir.ScheduleError:
            continue


def fuse_contiguous(sch: Schedule, block: Block, skip: int = 0) -> None:
    """Fuses the trailing loops of ``block`` that every access walks as one run of memory (or does not depend on)."""
    loops = sch.get_loops(block.handle)[skip:]
    axes = list(block.stmt.iter_vars)[-len(loops) :] if loops else []
    count = _contiguous_suffix(block, axes)
    if count > 1:
        sch.fuse(*loops[-count:])


def _contiguous_suffix(block: Block, axes: list[IterVar]) -> int:
    accesses = [*block.stores(), *block.loads()]
    free = [e for e in _outside_indices(block.stmt.body) if isinstance(e, tirx.Var)]
    count = 0
    for size in range(1, len(axes) + 1):
        suffix = [a.var for a in axes[-size:]]
        kinds = {a.iter_type for a in axes[-size:]}
        if len(kinds) > 1 or any(v.same_as(e) for v in suffix for e in free):
            break
        if not all(_walks_whole(a, axes[-size:]) or _ignores(list(a.indices), suffix) for a in accesses):
            break
        count = size
    return count


def _ignores(indices: list[Expr], suffix: list[tirx.Var]) -> bool:
    return not any(e.same_as(v) for i in indices for e in walk(i) for v in suffix)


def _walks_whole(access: TensorLoad | BufferStore, axes: list[IterVar]) -> bool:
    """Whether the last indices are exactly ``axes``, and all but the first of them span their dimension."""
    buffer = access.buffer if isinstance(access, BufferStore) else access.source
    last = list(access.indices)[-len(axes) :]
    if len(last) < len(axes) or any(not i.same_as(a.var) for i, a in zip(last, axes, strict=True)):
        return False
    if not _ignores(list(access.indices)[: -len(axes)], [a.var for a in axes]):
        return False
    spans = zip(list(buffer.shape)[-len(axes) + 1 :], axes[1:], strict=True) if len(axes) > 1 else []
    return all(structural_equal(dim, a.dom.extent) for dim, a in spans)


def _outside_indices(stmt: tirx.Stmt) -> list[Expr]:
    """Expressions of ``stmt`` that are not part of the index of an access."""

    def below(e: Expr) -> list[Expr]:
        if isinstance(e, TensorLoad):
            return []
        return [e, *[x for c in children(e) for x in below(c)]]

    return [e for s in statements(stmt) if isinstance(s, (BufferStore, tirx.Bind)) for e in below(s.value)]


def strides(block: Block, axis: IterVar) -> list[int | None]:
    """What one step of ``axis`` adds to the position of each load of ``block`` that depends on it."""
    analyzer = sym.Analyzer()
    for other in block.stmt.iter_vars:
        analyzer.bind(other.var, other.dom)
    found = [stride(analyzer.simplify(flat_index(load)), axis.var) for load in block.loads()]
    return [s for s in found if s != 0]


def mark_parallel(sch: Schedule, loops: list[s_tir.schedule.LoopRV]) -> None:
    """Fuses ``loops`` and marks the result as independent."""
    if loops:
        sch.annotate(sch.fuse(*loops) if len(loops) > 1 else loops[0], PARALLEL, WHERE_IT_PAYS)

"""Functions with reductions: softmax, normalisations, means, pooling, and whatever else has reduction axes."""

from tvm import ir, s_tir, tirx
from tvm.s_tir import Schedule
from tvm_ffi import structural_equal

from sparsecomp.schedules.arrange import arrange, vector_axis
from sparsecomp.schedules.blocks import Block, blocks_of, inline_injective, is_regular, mark_parallel
from sparsecomp.targets.base import Target


def rows(func: tirx.PrimFunc, target: Target) -> Schedule | None:
    """All stages of one row before the next row, so that a row stays in the cache; rows in parallel.

    A row is one position in the leading axes that all stages share: (batch, token) of a softmax over features,
    (batch, channel) of a pooling. None where the stages share none.
    """
    if not is_regular(func):
        return None
    sch = Schedule(func)
    inline_injective(sch)
    blocks = blocks_of(sch)
    shared = _shared_axes(blocks)
    if not shared or len(sch.get_output_blocks(sch.get_sblock("root"))) != 1:
        return None
    try:
        return _at_rows(sch, blocks, shared)
    except s_tir.ScheduleError:
        return None


def _at_rows(sch: Schedule, blocks: list[Block], shared: int) -> Schedule:
    last = blocks[-1]
    loops = sch.get_loops(last.handle)[:shared]
    row = sch.fuse(*loops) if shared > 1 else loops[0]
    for block in reversed(blocks[:-1]):
        sch.compute_at(block.handle, row, preserve_unit_loops=True)
    for block in blocks[:-1]:
        arrange(sch, block, axis=shared, loop=1 + shared)
    arrange(sch, last, axis=shared, loop=1)
    mark_parallel(sch, [sch.get_loops(last.handle)[0]])
    return sch


def _shared_axes(blocks: list[Block]) -> int:
    """Leading spatial axes with which every stage writes and reads what another stage made, unchanged."""
    made = [block.stmt.writes[0].source for block in blocks[:-1]]
    count = min(_leading(block) for block in blocks)
    for block in blocks:
        loads = [e for e in block.loads() if any(e.source.same_as(m) for m in made)]
        for access in (*block.stores(), *loads):
            count = min(count, _matching(list(access.indices), block))
    first = [axis.dom.extent for axis in blocks[0].stmt.iter_vars]
    for block in blocks:
        extents = [axis.dom.extent for axis in block.stmt.iter_vars]
        while count and not all(structural_equal(a, b) for a, b in zip(extents[:count], first, strict=False)):
            count -= 1
    return count


def _leading(block: Block) -> int:
    """Leading spatial axes of ``block``, without the one that should be in vectors."""
    axes = block.stmt.iter_vars
    spatial = next((k for k, axis in enumerate(axes) if axis.iter_type != tirx.IterVar.DataPar), len(axes))
    return spatial - (vector_axis(block) is not None)


def _matching(indices: list[ir.Expr], block: Block) -> int:
    pairs = zip(indices, block.stmt.iter_vars, strict=False)
    return next((k for k, (i, axis) in enumerate(pairs) if not i.same_as(axis.var)), len(indices))


def stages(func: tirx.PrimFunc, target: Target) -> Schedule | None:
    """Each stage in full before the next, each in vectors and in parallel over its own spatial axes."""
    if not is_regular(func):
        return None
    sch = Schedule(func)
    inline_injective(sch)
    for block in blocks_of(sch):
        mark_parallel(sch, arrange(sch, block))
    return sch

"""The loop order of one block: what is contiguous innermost, and where a reduction starts."""

from typing import Any

from tvm import tirx
from tvm.s_tir import Schedule

from sparsecomp.schedules.blocks import REDUCE, Block, flat_index, fuse_contiguous, strides
from sparsecomp.schedules.rewrite import Expr
from sparsecomp.schedules.vectorize import stride

Loop = Any
# Rows that a transposing copy writes at a time: the floats of one cache line that it reads.
LINE = 16
# Elements that a vector axis may skip: a convolution or pooling of stride two still gains from vectors.
MAX_STEP = 2


def arrange(sch: Schedule, block: Block, axis: int = 0, loop: int = 0) -> list[Loop]:
    """Orders the loops of ``block`` for vectors.

    Args:
        sch: the schedule.
        block: a block of it whose axes are bound to one loop each.
        axis: the first axis of the block that may move.
        loop: the loop that this axis is bound to; what is before it stays.

    Returns:
        The loops, among those it ordered, that carry no reduction and leave an inner loop where there is one.
    """
    loops = sch.get_loops(block.handle)[loop:]
    if not loops:
        return []
    axes = list(block.stmt.iter_vars)[axis:]
    if block.is_reduction:
        start = loop + _arrange_reduction(sch, block, loops, axes)
        return list(sch.get_loops(block.handle)[loop:start])
    inner = 1
    if all(s == 1 for s in strides(block, axes[-1])):
        fuse_contiguous(sch, block, loop)
    else:
        _arrange_transpose(sch, block, loops, axes)
        inner = 2
    left = list(sch.get_loops(block.handle)[loop:])
    return left[:-inner] if len(left) > inner else left[:1]


def _arrange_transpose(sch: Schedule, block: Block, loops: list[Loop], axes: list[tirx.IterVar]) -> None:
    """Reads whole cache lines: the axis that is contiguous in the source innermost, in runs of up to a line.

    Where it has no such runs, all of it inside of runs of the axis that is contiguous in the result.
    """
    for loop, axis in zip(loops[:-1], axes[:-1], strict=True):
        if 1 not in strides(block, axis):
            continue
        run = largest_divisor(axis.dom.extent, LINE)
        if run > 1:
            outer, inner = sch.split(loop, [None, run])
            sch.reorder(*[outer if other is loop else other for other in loops], inner)
        elif (run := largest_divisor(axes[-1].dom.extent, LINE)) > 1:
            outer, inner = sch.split(loops[-1], [None, run])
            sch.reorder(*[other for other in loops[:-1] if other is not loop], outer, loop, inner)
        return


def largest_divisor(extent: Expr, limit: int) -> int:
    """The largest divisor of ``extent`` up to ``limit``; 1 where the extent is symbolic."""
    if not isinstance(extent, tirx.IntImm):
        return 1
    return max(d for d in range(1, limit + 1) if extent.value % d == 0)


def _arrange_reduction(sch: Schedule, block: Block, loops: list[Loop], axes: list[tirx.IterVar]) -> int:
    """Orders the loops and starts the reduction; returns how many of them are around it."""
    pairs = list(zip(loops, axes, strict=True))
    reduced = [loop for loop, axis in pairs if axis.iter_type == REDUCE]
    spatial = [loop for loop, axis in pairs if axis.iter_type != REDUCE]
    first = len(sch.get_loops(block.handle)) - len(loops)
    start = len(spatial)
    if vector_axis(block) in axes:
        start -= 1
        sch.reorder(*spatial[:-1], *reduced, spatial[-1])
    else:
        sch.reorder(*spatial, *reduced)
        fuse_contiguous(sch, block, first + start)
    sch.decompose_reduction(block.handle, sch.get_loops(block.handle)[first + start])
    return start


def vector_axis(block: Block) -> tirx.IterVar | None:
    """The last spatial axis of a reduction where it, rather than a reduced one, should be in vectors."""
    if not block.is_reduction or not block.spatial:
        return None
    axis = block.spatial[-1]
    found = strides(block, axis)
    if not found or any(stride(flat_index(s), axis.var) != 1 for s in block.stores()):
        return None
    if all(s == 1 for s in found):
        return axis
    small = all(s is not None and 0 < s <= MAX_STEP for s in found)
    return axis if small and not _reduces_runs(block) else None


def _reduces_runs(block: Block) -> bool:
    """Whether the last reduced axis walks its operands contiguously and is long enough for vectors."""
    axis = block.stmt.iter_vars[-1]
    long = not isinstance(axis.dom.extent, tirx.IntImm) or axis.dom.extent.value >= LINE
    return long and all(s == 1 for s in strides(block, axis))

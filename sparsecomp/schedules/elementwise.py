"""Functions without reductions: element-wise chains, broadcasts, copies, transposes, gathers, concatenations."""

from tvm import tirx
from tvm.s_tir import Schedule

from sparsecomp.schedules.arrange import arrange
from sparsecomp.schedules.blocks import blocks_of, inline_injective, is_regular, mark_parallel
from sparsecomp.targets.base import Target


def elementwise(func: tirx.PrimFunc, target: Target) -> Schedule | None:
    """One nest for each output, everything before it inlined; None where something is reduced."""
    if not is_regular(func):
        return None
    sch = Schedule(func)
    if any(block.is_reduction for block in blocks_of(sch)):
        return None
    inline_injective(sch)
    for block in blocks_of(sch):
        mark_parallel(sch, arrange(sch, block))
    return sch

"""What no other rule can read: functions written as plain loops, such as cumulative sums and sorts."""

from tvm import tirx
from tvm.s_tir import Schedule

from sparsecomp.targets.base import Target


def fallback(func: tirx.PrimFunc, target: Target) -> Schedule:
    """The loops as they are; the vectoriser still cuts those that allow it."""
    return Schedule(func)

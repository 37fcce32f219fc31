"""From a scheduled function, whose loops have the right order, to loops in vectors and threads."""

import tvm
from tvm import s_tir, tirx

from sparsecomp.schedules.math import polynomial
from sparsecomp.schedules.parallelize import parallelize
from sparsecomp.schedules.rewrite import map_stmt, small_on_stack
from sparsecomp.schedules.vectorize import vectorize
from sparsecomp.targets.base import Target

# Blocks become plain loops and buffers flat, so that what is contiguous is seen from the indices alone.
LOWER = tvm.ir.transform.Sequential(
    [
        s_tir.transform.LowerInitBlock(),
        s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
        s_tir.transform.ConvertBlocksToOpaque(),
        s_tir.transform.CompactBufferAllocation(),
        s_tir.transform.StmtSimplify(),
        s_tir.transform.LowerOpaqueBlock(),
        tirx.transform.FlattenBuffer(),
        s_tir.transform.StmtSimplify(),
    ]
)


def finish(func: tirx.PrimFunc, target: Target) -> tirx.PrimFunc:
    """``func`` lowered to flat loops, in threads and vectors as ``target`` has them, with vectorisable mathematics."""
    lowered = LOWER(tvm.IRModule({"main": func}))["main"]
    body = vectorize(parallelize(lowered.body, target.cores), target.lanes)
    body = map_stmt(body, small_on_stack, polynomial)
    return in_root_block(tirx.transform.ConvertSSA()(tvm.IRModule({"main": lowered.with_body(body)}))["main"])


def in_root_block(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """``func`` with a root block around its body, through which Relax's passes look into it."""
    return func.with_body(s_tir.SBlockRealize([], True, s_tir.SBlock([], [], [], "root", func.body)))

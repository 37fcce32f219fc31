"""Work that is dealt out while it is done, since cores are not equally fast.

A core slows down by a quarter where somebody else's program runs on its other thread, or is a slow one of two kinds.
So a worker has not all of its run of a stage for itself. The end is cut into pieces, ever smaller, for whoever is free:
a worker first takes those of its own run, and then helps others. The pieces taken of a run are counted in a cache line
of its own, which others hardly touch before they have nothing else to do.

    the first part of the own run
    for the own run, then for those of some others
        while a piece of it is left: do it

The counters of a stage are set to zero in the stage before it, those of the first one in the last of the call before.
"""

from itertools import pairwise
from typing import Any

import tvm.tirx.script.builder.ir as T
from tvm import tirx
from tvm.ir import Call, PrimType
from tvm.script.ir_builder import IRBuilder

from sparsecomp.kernels.emit import let, local
from sparsecomp.lower.barrier import COUNTER, LINE, with_llvm
from sparsecomp.lower.runs import Run
from sparsecomp.lower.stages import Share, share_function

PART = 4  # one in so many units of a run is dealt out
PIECES = 4  # of them: each waits until what was stored before is seen by others
RUNS = 4  # its own and those of the next ones: what a worker takes pieces of
TAKE = "sparsecomp_take"
# TIR has no atomic operations for CPUs.
_TAKE = f"""define linkonce_odr hidden i32 @{TAKE}(ptr %taken) alwaysinline {{
  %piece = atomicrmw add ptr %taken, i32 1 monotonic
  ret i32 %piece
}}"""
Expr = Any


def with_take(body: Any) -> Any:
    """A function's body, in which `deal` works."""
    return with_llvm(_TAKE, body)


def is_dealt(share: Share) -> bool:
    """Whether it is worth to deal out the runs of a stage."""
    return share.run is not None and share.run.dealt


def sets(stages: int) -> list[tuple[int, int]]:
    """For each stage that is dealt out: which set of counters it uses, and which it sets to zero.

    That is the one of the next stage, or of the first one in the next call. No stage uses the set of the one before it,
    which some worker may still read when another is there.
    """
    if stages < 2:
        return []  # it would have to set to zero what it uses
    used = [index % 2 for index in range(stages)]
    if stages % 2:
        used[-1] = 2
    return list(pairwise([*used, used[0]]))


def deal(share: Share, run: Run, cores: int) -> tirx.PrimFunc:
    """The function ``(worker, taken, next, pointers...)``: a worker's part of a stage; all do all of it together.

    ``taken`` and ``next`` are the counters of this stage, and those that it sets to zero.
    """
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        worker = T.arg("worker", tirx.Var("worker", "int32"))
        counters = [T.arg(name, tirx.Var(name, COUNTER)) for name in ("taken", "next")]
        pointers = [T.arg(f"pointer{i}", tirx.Var(f"pointer{i}", kind)) for i, kind in enumerate(share.kinds)]
        taken, following = (T.decl_buffer((cores * LINE // 4,), "int32", data=each) for each in counters)
        T.buffer_store(following, 0, [worker * (LINE // 4)])
        begin, end, behind = (local(name, 1, "int32") for name in ("begin", "end", "behind"))
        T.buffer_store(begin, run.limits(worker)[0], [0])
        T.buffer_store(end, _cut(run, worker, 0), [0])
        T.buffer_store(behind, 0, [0])
        with T.While(behind[0] < min(RUNS, cores)):
            with T.If(begin[0] < end[0]), T.Then():
                T.evaluate(Call(share.function, [worker, begin[0], end[0], *pointers], ret_ty=PrimType("int32")))
            owner = let("owner", (worker + behind[0]) % cores)
            counter = tirx.address_of(taken[owner * (LINE // 4)])
            piece = let("piece", tirx.call_extern("int32", TAKE, counter))
            left = let("left", piece < PIECES)
            T.buffer_store(begin, tirx.Select(left, _cut(run, owner, piece), 0), [0])
            T.buffer_store(end, tirx.Select(left, _cut(run, owner, piece + 1), 0), [0])
            T.buffer_store(behind, behind[0] + tirx.Select(left, 0, 1), [0])
    function = builder.get()
    return share_function(function.params, [function.body])


def _cut(run: Run, owner: Expr, piece: Expr) -> Expr:
    """With which unit a piece of a run begins: what is left shrinks with the square of the pieces that are left."""
    begin, end = run.limits(owner)
    left, together, whole = PIECES - piece, run.together, PART * PIECES**2
    unit = end - ((end - begin) * (left * left) + whole - 1) // whole
    if together == 1:
        return unit
    return tirx.Select(left == 0, end, tirx.max(begin, unit // together * together))

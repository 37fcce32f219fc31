"""How workers wait for each other between stages.

A worker counts the stages that it has done in a cache line of its own, and waits until the counts of all others are as
high. It looks at them all the time: TVM's barrier lets the operating system run something else after each look, which
takes a microsecond and comes to a tenth of the time of small networks. Only after a long wait it does so too, where
there are more programs than cores.

Arriving and waiting are apart, so that one thread can do the parts of several workers, one after the other.
"""

from typing import Any

from tvm import ir, tirx
from tvm.ir import PointerType, PrimType
from tvm.tirx import AttrStmt

LINE = 128  # bytes between counters: processors fetch cache lines in pairs
COUNTER = PointerType(PrimType("int32"), "global")
PATIENCE = 10_000  # looks before another program may run, about 10 microseconds
_ARRIVE, _WAIT = "sparsecomp_arrive", "sparsecomp_wait"
# TIR has no atomic operations for CPUs.
_CODE = f"""
declare i32 @sched_yield()

define linkonce_odr hidden i32 @{_ARRIVE}(ptr %own) alwaysinline {{
  %before = load i32, ptr %own
  %after = add i32 %before, 1
  store atomic i32 %after, ptr %own release, align 4
  ret i32 0
}}

define linkonce_odr hidden i32 @{_WAIT}(ptr %own, ptr %other) alwaysinline {{
begin:
  %mine = load i32, ptr %own
  br label %look
look:
  %looks = phi i32 [ 0, %begin ], [ %more, %again ], [ 0, %yield ]
  %theirs = load atomic i32, ptr %other acquire, align 4
  %ahead = sub i32 %theirs, %mine
  %there = icmp sge i32 %ahead, 0
  br i1 %there, label %end, label %again
again:
  %more = add i32 %looks, 1
  %patient = icmp slt i32 %more, {PATIENCE}
  br i1 %patient, label %look, label %yield
yield:
  %result = call i32 @sched_yield()
  br label %look
end:
  ret i32 0
}}"""


def with_barriers(body: Any) -> Any:
    """A function's body, in which `arrive` and `wait` work."""
    return with_llvm(_CODE, body)


def with_llvm(code: str, body: Any) -> Any:
    """A function's body, which may call what this code of LLVM defines."""
    return AttrStmt(tirx.const(0, "int32"), "pragma_import_llvm", ir.StringImm(code), body)


def arrive(counters: Any, worker: Any) -> Any:
    """The worker has done one stage more."""
    return tirx.Evaluate(tirx.call_extern("int32", _ARRIVE, _counter(counters, worker)))


def wait(counters: Any, worker: Any, cores: int) -> list[Any]:
    """Until all others have done as many stages as the worker."""
    own = _counter(counters, worker)
    others = [_counter(counters, (worker + i) % cores) for i in range(1, cores)]
    return [tirx.Evaluate(tirx.call_extern("int32", _WAIT, own, other)) for other in others]


def _counter(counters: Any, worker: Any) -> Any:
    return tirx.call_intrin(COUNTER, "tirx.handle_add_byte_offset", counters, worker * LINE)

"""A program of known sizes as one function, in which threads start once and wait for each other between kernels.

Relax's virtual machine takes 60 ns for each instruction, and a kernel that starts its threads itself a microsecond or
more: a tenth of the time of a pruned MobileNetV2.

    parallel: each worker
        kernel 1, its share                         or what it takes of all shares: see `dealing`
        barrier                                     none between kernels that run on one thread
        kernel 2, its share
        ...

The kernels that the virtual machine calls, for a profile, call the same functions of a worker's share.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import tvm.tirx.script.builder.ir as T
from tvm import ir, tirx
from tvm.ir import PointerType
from tvm.script.ir_builder import IRBuilder
from tvm.tirx import For, ForKind, SeqStmt

from sparsecomp.kernels.emit import argument
from sparsecomp.lower.barrier import COUNTER, LINE, arrive, wait, with_barriers
from sparsecomp.lower.chains import chain
from sparsecomp.lower.dealing import deal, is_dealt, sets, with_take
from sparsecomp.lower.stages import Kernel, Share, divide, run, split
from sparsecomp.lower.static_calls import NotStaticError, Place, StaticCalls, aligned_bytes
from sparsecomp.memory_plan import ALIGNMENT, ENTRY, WHOLE, MemoryPlan
from sparsecomp.targets.base import Target

# Each address is in the upper half of an entry of the table, as in TVM's values, of which this is the field.
POINTER_FIELD = 15
_ENTRIES = LINE // ENTRY  # of the table, for a counter
Stmt = Any


def as_one_function(module: ir.IRModule, target: Target) -> tuple[ir.IRModule, MemoryPlan | None]:
    """Add the function `WHOLE`, if the program allows one; what memory it needs."""
    try:
        calls = StaticCalls(module["main"])
        parts = {call.kernel: split(module[call.kernel]) for call in calls.kernels}
    except NotStaticError:
        return module, None
    kernels: dict[ir.GlobalVar, Kernel] = {}
    for call in calls.kernels:
        if call.kernel not in kernels:
            kernels[call.kernel] = divide(module, call, parts[call.kernel], target.cores)
    chain(module, calls, kernels, target)
    return module, add(module, calls, kernels, target.cores)


def add(module: ir.IRModule, calls: StaticCalls, kernels: dict[ir.GlobalVar, Kernel], cores: int) -> MemoryPlan:
    """Add the function `WHOLE` of these calls; what memory it needs."""
    whole = _Whole(calls, kernels, cores)
    for name, share in whole.dealt.items():
        if share.run:
            module.update_func(name, deal(share, share.run, cores))
    module.update_func(ir.GlobalVar(WHOLE), whole.build())
    return MemoryPlan(whole.size, whole.places, tuple(calls.results), whole.entries)


def _by_first_worker(loop: For, cores: int) -> For:
    """The only iteration of a loop as the first worker's: a parallel loop of one iteration all workers would run."""
    first = tirx.IfThenElse(loop.loop_var == 0, loop.body, None)
    return For(loop.loop_var, loop.min, tirx.const(cores, "int32"), ForKind.PARALLEL, first)


class _Whole:
    """Emits the function ``(inputs..., table, results...)``.

    Attributes:
        places: where in the buffer of intermediate values begins what the table lists after the weights.
        size: bytes of that buffer.
        entries: of the table; the last ones are counters.
        dealt: the shares whose runs may be cut, by the names of the functions that deal them out.
    """

    def __init__(self, calls: StaticCalls, kernels: dict[ir.GlobalVar, Kernel], cores: int) -> None:
        self._calls, self._cores = calls, cores
        self.size, self.stride = calls.size, ALIGNMENT
        self._stages = [stage for call in calls.kernels for stage in self._of_call(kernels[call.kernel], call.places)]
        found = dict.fromkeys(
            place for _, places in self._stages for place in places if place.kind in ("buffer", "scratch")
        )
        self._entries = {place: calls.weights + index for index, place in enumerate(found)}
        self.places = tuple(place.at + (self.size if place.kind == "scratch" else 0) for place in found)
        self.size += self.stride * cores
        self._counters = -(-(calls.weights + len(self.places)) // _ENTRIES) * _ENTRIES
        self._sets = sets(sum(is_dealt(share) for share, _ in self._stages))
        self._arrived = len({each for each, _ in self._sets})
        self.entries = self._counters + _ENTRIES * cores * (self._arrived + 1)
        shares = {share.function: share for share, _ in self._stages if is_dealt(share) and self._sets}
        self._dealers = {name: ir.GlobalVar(f"{name.name_hint}_dealt") for name in shares}
        self.dealt = {self._dealers[name]: share for name, share in shares.items()}

    def _of_call(self, kernel: Kernel, places: list[Place]) -> Iterator[tuple[Share, list[Place]]]:
        """The stages of a call. The arrays that workers share are in the same place for all kernels, after the rest."""
        shared, self.size = _in_a_row(kernel.shared, "buffer", self._calls.size, self.size)
        for share in kernel.shares:
            own, self.stride = _in_a_row(share.scratch, "scratch", 0, self.stride)
            yield share, [*places, *shared, *own]

    def build(self) -> tirx.PrimFunc:
        """The function."""
        calls = self._calls
        with IRBuilder() as builder, T.prim_func(s_tir=True):
            T.func_name(WHOLE)
            self._inputs = [argument(f"input{index}", *each) for index, each in enumerate(calls.inputs)]
            self._table = argument("table", (2 * self.entries,), "int64")
            self._results = [argument(f"result{index}", *each) for index, each in enumerate(calls.results)]
            T.evaluate(0)
        return builder.get().with_body(self._body())

    def _body(self) -> Stmt:
        remaining = iter(self._sets)
        runs = [self._run(share, places, remaining) for share, places in self._stages]
        if not any(share.parallel for share, _ in self._stages):
            return SeqStmt([*runs, tirx.Evaluate(0)])
        parallel = [each if each.kind == ForKind.PARALLEL else _by_first_worker(each, self._cores) for each in runs]
        barriers = [before.parallel or after.parallel for before, after in pairwise(share for share, _ in self._stages)]
        ends = zip(parallel, [False, *barriers], [*barriers, False], strict=True)
        together = SeqStmt([*(self._between(*each) for each in ends), tirx.Evaluate(0)])
        return with_barriers(with_take(_pragma("parallel_launch_point", together)))

    def _between(self, loop: For, before: bool, after: bool) -> For:
        """A loop over the workers, between barriers."""
        counters = self._lines(self._arrived)
        waits = wait(counters, loop.loop_var, self._cores) if before else []
        arrives = [arrive(counters, loop.loop_var)] if after else []
        lines = SeqStmt([*waits, loop.body, *arrives, tirx.Evaluate(0)])
        return For(loop.loop_var, loop.min, loop.extent, loop.kind, lines)

    def _run(self, share: Share, places: list[Place], remaining: Iterator[tuple[int, int]]) -> Stmt:
        pointers = self._pointers(share, places)
        if share.function not in self._dealers:
            return run(share, self._cores, pointers)
        counters = [self._lines(each) for each in next(remaining)]
        dealt = share._replace(function=self._dealers[share.function], run=None)
        return run(dealt, self._cores, lambda worker: [*counters, *pointers(worker)])

    def _lines(self, index: int) -> Any:
        """A counter of each worker, the ``index``-th of them."""
        start = ENTRY * (self._counters + _ENTRIES * self._cores * index)
        return tirx.call_intrin(COUNTER, "tirx.handle_add_byte_offset", self._table.data, start)

    def _pointers(self, share: Share, places: list[Place]) -> Callable[[Any], list[Any]]:
        pairs = list(zip(places, share.kinds, strict=True))
        return lambda worker: [self._pointer(place, kind, worker) for place, kind in pairs]

    def _pointer(self, place: Place, kind: PointerType, worker: Any) -> Any:
        if place.kind == "input":
            return self._inputs[place.at].data
        if place.kind == "result":
            return self._results[place.at].data
        entry = place.at if place.kind == "weight" else self._entries[place]
        address = tirx.call_intrin(kind, "tirx.tvm_struct_get", self._table.data, entry, POINTER_FIELD)
        if place.kind != "scratch":
            return address
        return tirx.call_intrin(kind, "tirx.handle_add_byte_offset", address, worker * self.stride)


def _in_a_row(arrays: list[Any], kind: str, start: int, most: int) -> tuple[list[Place], int]:
    """Places for arrays from ``start`` on; and where the last ends, if that is beyond ``most``."""
    found = []
    for array in arrays:
        found.append(Place(kind, start))
        start += aligned_bytes(array.ty.shape, array.ty.dtype)
    return found, max(start, most)


def _pragma(name: str, body: Stmt) -> Stmt:
    return tirx.AttrStmt(tirx.const(0, "int32"), f"pragma_{name}", tirx.const(1, "int32"), body)

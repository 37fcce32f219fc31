"""Two stages as one: what a worker has of the first, it hands on to the second at once, and waits for nobody.

Where units of two kernels are channels, and the second reads of the first what it needs for the same channels, as a
depthwise convolution does after a pointwise one, a worker needs nothing of what others compute:

    for each piece of the worker's run
        the channels of the piece by the first kernel, into an array of the worker's own
        the same channels by the second kernel, from there

The array is used again for each piece, and stays in a cache near. The values between two such layers are the largest of
a network: written to memory as a whole, each line of them had to be fetched from the L3 cache or from the cache of
another core, before it was written as well as when it was read.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import tvm.tirx.script.builder.ir as T
from tvm import ir, tirx
from tvm.ir import Call, PointerType, PrimType
from tvm.script.ir_builder import IRBuilder

from sparsecomp.kernels.apart import piece
from sparsecomp.kernels.emit import let
from sparsecomp.lower.runs import Run
from sparsecomp.lower.stages import Kernel, Share, share_function
from sparsecomp.lower.static_calls import StaticCall, StaticCalls
from sparsecomp.targets.base import Target

_ADD = "tirx.handle_add_byte_offset"
Kernels = dict[ir.GlobalVar, Kernel]
Expr = Any


class _Link(NamedTuple):
    """What connects two stages.

    Attributes:
        first, second: the stages.
        run: of the first, whose units are those of both.
        channels: of the tensor between them.
        plane: bytes of a channel.
        units: in a piece.
    """

    first: Share
    second: Share
    run: Run
    channels: int
    plane: int
    units: int


def chain(module: ir.IRModule, calls: StaticCalls, kernels: Kernels, target: Target) -> None:
    """Let one call stand for each two that can be chained; its function and its kernel are added."""
    links: dict[int, _Link] = {}
    for index, pair in enumerate(pairwise(calls.kernels)):
        link = _link(*pair, kernels, target)
        if link is not None and index - 1 not in links:
            links[index] = link
    if links:
        calls.arrange(links)
    names: dict[tuple[ir.GlobalVar, ir.GlobalVar], ir.GlobalVar] = {}
    for index in reversed(links):
        first, second = calls.kernels[index : index + 2]
        pair = (first.kernel, second.kernel)
        if pair not in names:
            names[pair] = ir.GlobalVar(f"{first.kernel.name_hint}_{second.kernel.name_hint}")
            kernels[names[pair]] = _chained(module, names[pair], links[index])
        both = StaticCall(names[pair], [*first.shapes, *second.shapes], [*first.places, *second.places])
        calls.kernels[index : index + 2] = [both]


def _link(before: StaticCall, call: StaticCall, kernels: Kernels, target: Target) -> _Link | None:
    """How these neighbours are chained, if they can be and there is a piece for every worker."""
    first, second = (_only_share(kernels[each.kernel]) for each in (before, call))
    if not (first and second and first.run and second.run and before.passed_on):
        return None
    if not first.run.writes or second.run.reads != 1:
        return None
    _, channels, *sizes = before.shapes[-1]
    plane, each = 4 * math.prod(sizes), first.run.writes
    units = piece(channels, each, plane, target)
    return _Link(first, second, first.run, channels, plane, units) if units else None


def _only_share(kernel: Kernel) -> Share | None:
    """The only stage of a kernel that makes no arrays for all workers."""
    return kernel.shares[0] if len(kernel.shares) == 1 and not kernel.shared else None


def _chained(module: ir.IRModule, name: ir.GlobalVar, link: _Link) -> Kernel:
    """The kernel of both. Its pointers are the arguments of the first and of the second, then the arrays of each."""
    first, second, run = link.first, link.second, link.run
    assert second.run is not None
    given, taken = (len(each.kinds) - len(each.scratch) for each in (first, second))
    kinds = [*first.kinds[:given], *second.kinds[:taken], *first.kinds[given:], *second.kinds[taken:]]
    share = ir.GlobalVar(f"{name.name_hint}_share")
    module.update_func(share, _function(link, kinds, given, taken))
    both = run._replace(dealt=run.dealt or second.run.dealt, writes=0, reads=0)
    return Kernel([Share(share, both, True, [*first.scratch, *second.scratch], kinds)], [])


def _function(link: _Link, kinds: Sequence[PointerType], given: int, taken: int) -> tirx.PrimFunc:
    """The function ``(worker, begin, end, pointers...)``; so many of them are arguments of the first and the second."""
    units, each, arrays = link.units, link.run.writes, given + taken
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        worker, begin, end = (T.arg(name, tirx.Var(name, "int32")) for name in ("worker", "begin", "end"))
        pointers = [T.arg(f"pointer{i}", tirx.Var(f"pointer{i}", kind)) for i, kind in enumerate(kinds)]
        own = arrays + len(link.first.scratch)
        with T.serial(0, (end - begin + (units - 1)) // units) as index:
            unit = let("unit", begin + index * units)
            last = let("last", tirx.min(unit + units, end))
            # Where channel 0 would be, so that those of the piece are in the worker's array.
            place = (worker * (units * each) - unit * each) * link.plane
            between = let("between", tirx.call_intrin(kinds[given], _ADD, pointers[given], place))
            _call(link.first, worker, (unit, last), [*pointers[: given - 1], between, *pointers[arrays:own]])
            channels = (unit * each, tirx.min(last * each, link.channels))
            _call(link.second, worker, channels, [between, *pointers[given + 1 : arrays], *pointers[own:]])
    function = builder.get()
    return share_function(function.params, [function.body])


def _call(share: Share, worker: Expr, run: tuple[Expr, Expr], pointers: Sequence[Expr]) -> None:
    T.evaluate(Call(share.function, [worker, *run, *pointers], ret_ty=PrimType("int32")))

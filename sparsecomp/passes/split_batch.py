"""Compute a large batch in parts, one after the other, so that what one layer leaves is in the cache for the next."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsecomp.passes.narrow import Narrowing
from sparsecomp.program import Program
from sparsecomp.rules.call import Value
from sparsecomp.rules.coupling import AxisKey, Coupling
from sparsecomp.rules.pointwise import broadcast
from sparsecomp.rules.propagate import Application, applications, constants
from sparsecomp.rules.samples import batch_size, sample_axes
from sparsecomp.signature import Parts

ROOM = 8 * 1024 * 1024
LEAST = 8  # parts that use less than one in so many bytes of the room would spend their time on what is between


@dataclass(frozen=True)
class SplitBatch:
    """Narrow the program to a part of its batch; whoever runs it calls it for each part and joins the results.

    Before: ``y = conv2d(x[16, 3, 224, 224], ...)``. After: ``y = conv2d(x[2, 3, 224, 224], ...)``, called 8 times.

    A part is the largest equal share of the batch of which every layer's input and output fit in the cache together.
    Only a program that provably computes every sample alone and alike is split (`sparsecomp.rules.samples`), and
    none with sizes that vary.

    Attributes:
        room: bytes of cache for what a layer reads and writes, weights aside.
    """

    room: int = ROOM
    name: str = "split-batch"

    def apply(self, program: Program) -> bool:
        """See the class. ``program.parts`` tells how often to call the program, and which inputs to cut."""
        fixed = not program.range_constraints and program.parts.count == 1
        batch = batch_size(program.module) if fixed else None
        if batch is None or batch < 2:
            return False
        calls = applications(program.module)
        count = self._count(batch, calls.values())
        if count == 1:
            return False
        table = constants(program.module, calls)
        axes = sample_axes(program.module, calls, table)
        if axes is None:
            return False
        wanted = {key: _of_first(batch // count, batch, inner, key) for key, inner in axes.items()}
        coupling = Coupling(program.module, calls, table, wanted=wanted)
        if any(coupling.axes[key].gt(0).ne(mask).any() for key, mask in wanted.items()):
            return False
        Narrowing(program, coupling).apply()
        _cut_inputs(program, axes, count)
        return True

    def _count(self, batch: int, calls: Iterable[Application]) -> int:
        """Into how many parts; 1 if all fits, or if no number that divides the batch leaves parts of a fair size."""
        most = max((_nbytes(each) for each in calls if not _is_elementwise(each)), default=0)
        count = next((n for n in range(1, batch) if batch % n == 0 and most <= n * self.room), batch)
        return count if LEAST * most >= count * self.room else 1


def _is_elementwise(application: Application) -> bool:
    """Whether fusion may make the call a part of another one."""
    return application.rule is not None and application.rule.relate is broadcast


def _nbytes(application: Application) -> int:
    """What a call reads and writes, weights aside."""
    call = application.call
    tensors = {value for value in (*call.inputs, *call.outputs) if value.node.op != "get_attr"}
    return sum(value.node.meta["val"].nbytes for value in tensors if isinstance(value.node.meta["val"], Tensor))


def _of_first(part: int, batch: int, inner: int, key: AxisKey) -> Tensor:
    """The slices of an axis that belong to the first samples."""
    value, axis = key
    return torch.arange(int(value.shape[axis])) // inner % batch < part


def _cut_inputs(program: Program, axes: Iterable[AxisKey], count: int) -> None:
    cut = [index for index, node in enumerate(program.placeholders()) if (Value(node), 0) in axes]
    for index in cut:
        node = program.placeholders()[index]
        whole = node.meta["val"]
        node.meta["val"] = whole.new_empty((len(whole) // count, *whole.shape[1:]))
    program.parts = Parts(count, tuple(cut))

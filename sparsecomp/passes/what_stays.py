"""Slices that nobody needs and that stay all the same, with the reason."""

from collections import Counter

import torch
from torch import Tensor

from sparsecomp.program import Program, Staying, layer_name
from sparsecomp.rules.call import Value
from sparsecomp.rules.coupling import AxisKey, Coupling
from sparsecomp.rules.propagate import Reads, applications, constants, readers

_PADDING = (torch.ops.aten.pad.default, torch.ops.aten.constant_pad_nd.default)


def what_stays(program: Program) -> tuple[Staying, ...]:
    """For each group of tied axes with idle slices that `RemoveDeadSlices` cannot remove: what stays, and why.

    Only what is computed and read is looked at. Left out are inputs, parameters, axes of size one, and padding, which
    is constant by its nature.
    """
    calls = applications(program.module)
    return staying(Coupling(program.module, calls, constants(program.module, calls)))


def staying(coupling: Coupling) -> tuple[Staying, ...]:
    """As `what_stays`, of a coupling by which nothing can be removed."""
    reads = readers(coupling.module, coupling.calls, coupling.table)
    found = [_of_group(group, coupling, reads) for group in coupling.groups()]
    return tuple(each for each in found if each is not None)


def _of_group(group: list[AxisKey], coupling: Coupling, reads: Reads) -> Staying | None:
    computed = [key for key in group if _is_computed(*key) and bool(reads[key].any())]
    idle = {key: _idle(key, coupling, reads) for key in computed}
    if not any(bool(mask.any()) for mask in idle.values()):
        return None
    value, axis = max(idle, key=lambda key: int(idle[key].sum()))
    where = idle[value, axis].nonzero().flatten().tolist()
    reasons = Counter(_reason((value, axis), index, coupling) for index in where)
    return Staying(
        layer=layer_name(value.node),
        tensor=value.node.name,
        axis=axis,
        slices=int(value.shape[axis]),
        idle=len(where),
        members=tuple(sorted({each.node.name for each, _ in group})),
        reasons=tuple(reasons.most_common()),
    )


def _is_computed(value: Value, axis: int) -> bool:
    node = value.node
    return node.op == "call_function" and node.target not in _PADDING and value.size(axis) != 1


def _idle(key: AxisKey, coupling: Coupling, reads: Reads) -> Tensor:
    """Slices that stay although they are known, or although nothing reads them."""
    value, axis = key
    known = coupling.table.axis(value, axis)
    needless = ~reads[key] if known is None else ~reads[key] | known.constant
    kept = coupling.kept(value, axis)
    return needless & kept if kept is not None else torch.zeros_like(needless)


def _reason(key: AxisKey, index: int, coupling: Coupling) -> str:
    cause = coupling.cause(*key, index)
    assert cause is not None, "a slice that stays has a cause"
    application = coupling.calls.get(cause.node)
    touched = {*application.call.inputs, *application.call.outputs} if application is not None else {key[0]}
    return str(cause) if key[0] in touched else f"coupled with a live slice: {cause}"

"""Operators that take some slices of an axis, or put them elsewhere: slice, select, index_select, pad, flip, roll."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sparsecomp.facts import AxisFacts, TensorFacts
from sparsecomp.rules.base import Cut, Keep, Rule, register
from sparsecomp.rules.call import Call
from sparsecomp.rules.carry import carry, carry_first
from sparsecomp.rules.join import whole
from sparsecomp.rules.relation import ABSENT, Link, Relation, relate
from sparsecomp.rules.table import FactTable

aten = torch.ops.aten

Positions = Callable[[Call, int], Tensor | None]
"""For each slice of the result the slice of the input that it is, given the size of the axis; None if not known."""


def _axes(call: Call) -> list[int]:
    rank = len(call.inputs[0].shape)
    given: Any = call.arguments.get("dim", call.arguments.get("dims"))
    return [dim % rank for dim in (given if isinstance(given, (list, tuple)) else [given])] or list(range(rank))


def _relation(positions: Positions) -> Callable[[Call], Relation]:
    def relation(call: Call) -> Relation:
        source, axes = call.inputs[0], _axes(call)
        text = " ".join("_" if i in axes else f"a{i}" for i in range(len(source.shape)))
        others = relate(f"{text} -> {text}", [source], call.outputs)
        size = source.size(axes[0])
        index = positions(call, size) if size is not None and len(axes) == 1 else None
        if size is None or index is None or len(index) != call.output.size(axes[0]):
            return others
        taken = Link(call.output, axes[0], (("k", index),), 0, True)
        return Relation((*others.links, whole(source, axes[0], "k", 0, False), taken), {**others.sizes, "k": size})

    return relation


def _narrow(positions: Positions) -> Callable[[Call, Relation, Cut, Keep], None]:
    def narrow(call: Call, relation: Relation, cut: Cut, keep: Keep) -> None:
        source, axis = call.inputs[0], _axes(call)[0]
        if "k" not in keep or bool(keep["k"].all()):
            return
        index = positions(call, int(source.shape[axis]))
        assert index is not None
        place = keep["k"].long().cumsum(0) - 1
        _take(call, cut, axis, place[index[keep["k"][index]]])

    return narrow


def _take(call: Call, cut: Cut, axis: int, index: Tensor) -> None:
    """Rewrite to the plainest operator that takes these slices."""
    source = call.node.args[0]
    call.node.kwargs = {}
    start = int(index[0]) if len(index) else 0
    if torch.equal(index, torch.arange(start, start + len(index))):
        call.node.target, call.node.args = aten.slice.Tensor, (source, axis, start, start + len(index), 1)
        return
    constant = cut.constant(call.node, "index", index)
    call.node.target, call.node.args = aten.index_select.default, (source, axis, constant)


def _sliced(call: Call, size: int) -> Tensor | None:
    start, end, step = call["start"], call["end"], call["step"]
    if not all(each is None or isinstance(each, int) for each in (start, end, step)):
        return None
    return torch.arange(size)[slice(start, end, step)]


def _narrowed(call: Call, size: int) -> Tensor | None:
    start, length = call["start"], call["length"]
    if not isinstance(start, int) or not isinstance(length, int):
        return None
    return torch.arange(size).narrow(0, start, length)


def _flipped(call: Call, size: int) -> Tensor | None:
    return torch.arange(size).flip(0)


def _rolled(call: Call, size: int) -> Tensor | None:
    shifts = call.integers("shifts")
    return torch.arange(size).roll(shifts[0]) if shifts is not None and call["dims"] else None


def _indexed(call: Call, size: int) -> Tensor | None:
    index = call.data(call.tensor("index"))
    return None if index is None else index.reshape(-1) % size


def _select_relation(call: Call) -> Relation:
    source, axis, index = call.inputs[0], _axes(call)[0], call["index"]
    names = [f"a{i}" for i in range(len(source.shape))]
    names[axis] = "k" if isinstance(index, int) else "_"
    right = " ".join(name for i, name in enumerate(names) if i != axis)
    return relate(f"{' '.join(names)} -> {right}", [source], call.outputs)


def _only_the_selected(call: Call, relation: Relation, facts: FactTable, keep: Keep) -> dict[str, Tensor]:
    if "k" not in relation.sizes:
        return {}
    needed = torch.zeros(relation.sizes["k"], dtype=torch.bool)
    needed[call["index"]] = True
    return {"k": needed}


def _select_forward(call: Call, relation: Relation, facts: FactTable) -> list[TensorFacts]:
    """What is true of the whole tensor along the other axes; and all, if the selected slice is constant."""
    source, axis, index = call.inputs[0], _axes(call)[0], call["index"]
    known = facts.axis(source, axis)
    if known is None or not isinstance(index, int) or not bool(known.constant[index]):
        return carry(call, relation, facts)
    sizes = [call.output.size(i) for i in range(len(call.output.shape))]
    return [
        tuple(
            None if size is None else AxisFacts.of(torch.ones(size, dtype=torch.bool), known.value[index].expand(size))
            for size in sizes
        )
    ]


def _select_other(call: Call, relation: Relation, cut: Cut, keep: Keep) -> None:
    if "k" in keep:
        call.rewrite(index=int(keep["k"][: call["index"] % relation.sizes["k"]].sum()))


def _pad_relation(call: Call) -> Relation:
    """Channels may be padded too (a residual shortcut does it); what is added is a variable of its own."""
    source, rank = call.inputs[0], len(call.output.shape)
    links: list[Link] = []
    sizes: dict[str, int] = {}
    for axis in range(rank):
        before, after = _padding(call, axis)
        size = source.size(axis)
        if size is None or not isinstance(before, int) or not isinstance(after, int) or before < 0 or after < 0:
            continue
        index = torch.full((before + size + after,), ABSENT)
        index[before : before + size] = torch.arange(size)
        parts = [(f"a{axis}", index)]
        sizes[f"a{axis}"] = size
        for name, count, start in ((f"l{axis}", before, 0), (f"r{axis}", after, before + size)):
            if count == 0:
                continue
            added = torch.full_like(index, ABSENT)
            added[start : start + count] = torch.arange(count)
            parts.append((name, added))
            sizes[name] = count
        links += [whole(source, axis, f"a{axis}", 0, False), Link(call.output, axis, tuple(parts), 0, True)]
    return Relation(tuple(links), sizes)


def _padding(call: Call, axis: int) -> tuple[Any, Any]:
    pad, position = call["pad"], 2 * (len(call.output.shape) - 1 - axis)
    return (pad[position], pad[position + 1]) if position < len(pad) else (0, 0)


def _is_constant_padding(call: Call) -> bool:
    return bool(call.arguments.get("mode", "constant") == "constant")


def _pad_forward(call: Call, relation: Relation, facts: FactTable) -> list[TensorFacts]:
    if not _is_constant_padding(call):
        return [(None,) * len(call.output.shape)]
    number = torch.tensor(call["value"] or 0, dtype=call.output.dtype)
    found: list[AxisFacts | None] = []
    for axis, arriving in enumerate(carry(call, relation, facts)[0]):
        elsewhere = any(_padding(call, other) != (0, 0) for other in range(len(call.output.shape)) if other != axis)
        found.append(_pad_axis(call, relation, axis, arriving, number, elsewhere))
    return [tuple(found)]


def _pad_axis(
    call: Call, relation: Relation, axis: int, arriving: AxisFacts | None, number: Tensor, elsewhere: bool
) -> AxisFacts | None:
    """Slices of the input stay constant if what is put around them is the same; slices that are added are constant."""
    target = next((k for k in relation.of_role(0, is_output=True) if k.axis == axis), None)
    if target is None or arriving is None:
        return None
    inside = target.parts[0][1] != ABSENT
    constant = torch.where(inside, arriving.constant, torch.tensor(True))
    if elsewhere:
        constant &= ~inside | (arriving.value == number)
    labels = torch.where(inside, arriving.classes, -1)
    return AxisFacts.of(constant, torch.where(inside, arriving.value, number), labels)


def _pad_less(call: Call, relation: Relation, cut: Cut, keep: Keep) -> None:
    pad = list(call["pad"])
    for axis in range(len(call.output.shape)):
        position = 2 * (len(call.output.shape) - 1 - axis)
        for name, place in ((f"l{axis}", position), (f"r{axis}", position + 1)):
            if name in keep:
                pad[place] = int(keep[name].sum())
    call.rewrite(pad=pad)


def _pad_whole_axes(call: Call) -> Relation:
    """Padding that repeats or mirrors elements: only axes that are not padded narrow."""
    text = " ".join("_" if _padding(call, axis) != (0, 0) else f"a{axis}" for axis in range(len(call.output.shape)))
    return relate(f"{text} -> {text}", call.inputs, call.outputs)


def _taking(positions: Positions) -> Rule:
    return Rule(_relation(positions), carry_first, narrow=_narrow(positions))


register(_taking(_sliced), aten.slice.Tensor)
register(_taking(_narrowed), aten.narrow.default)
register(_taking(_flipped), aten.flip.default)
register(_taking(_rolled), aten.roll.default)
register(_taking(_indexed), aten.index_select.default)
register(Rule(_select_relation, _select_forward, _only_the_selected, _select_other), aten.select.int)
register(
    Rule(
        lambda call: _pad_relation(call) if _is_constant_padding(call) else _pad_whole_axes(call),
        _pad_forward,
        narrow=_pad_less,
    ),
    *(aten.pad.default, aten.constant_pad_nd.default),
)

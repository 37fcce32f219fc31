"""Operators that join tensors along an axis or take them apart: cat, stack, split, chunk, unbind.

The joined axis is linked to one variable for each piece, so each piece narrows on its own.
"""

import torch

from sparsecomp.rules.base import Cut, Keep, Rule, register
from sparsecomp.rules.call import Call, Value
from sparsecomp.rules.carry import carry
from sparsecomp.rules.relation import ABSENT, Link, Relation, relate

aten = torch.ops.aten


def concatenated(value: Value, axis: int, pieces: list[int], role: int, is_output: bool) -> Link:
    """The link of an axis made of pieces of these sizes, with one variable ``p0, p1, ...`` for each."""
    parts, start, total = [], 0, sum(pieces)
    for i, size in enumerate(pieces):
        if size == 0:
            continue
        index = torch.full((total,), ABSENT)
        index[start : start + size] = torch.arange(size)
        parts.append((f"p{i}", index))
        start += size
    return Link(value, axis, tuple(parts), role, is_output)


def whole(value: Value, axis: int, name: str, role: int, is_output: bool) -> Link:
    """The link of an axis to one variable of its own."""
    return Link(value, axis, ((name, torch.arange(int(value.shape[axis]))),), role, is_output)


def _elementwise_axes(call: Call, axis: int) -> Relation:
    """All other axes of all tensors belong together; the axis itself is left out."""
    rank = len(call.output.shape)
    text = " ".join("_" if i == axis else f"a{i}" for i in range(rank))
    left, right = (",".join([text] * len(values)) for values in (call.inputs, call.outputs))
    return relate(f"{left} -> {right}", call.inputs, call.outputs)


def _cat_relation(call: Call) -> Relation:
    axis = call["dim"] % len(call.output.shape)
    pieces = [value.size(axis) if len(value.shape) > axis else None for value in call.inputs]
    if any(len(value.shape) != len(call.output.shape) for value in call.inputs):
        return Relation((), {})
    others = _elementwise_axes(call, axis)
    sizes = [size for size in pieces if size is not None]
    if len(sizes) < len(pieces):
        return others
    links = [whole(value, axis, f"p{i}", i, False) for i, value in enumerate(call.inputs)]
    links.append(concatenated(call.output, axis, sizes, 0, True))
    return Relation((*others.links, *links), {**others.sizes, **{f"p{i}": size for i, size in enumerate(sizes)}})


def _cat_less(call: Call, relation: Relation, cut: Cut, keep: Keep) -> None:
    """Pieces of which nothing stays are left out."""
    nodes = list(call.node.args[0]) if isinstance(call.node.args[0], (list, tuple)) else []
    stays = [node for i, node in enumerate(nodes) if f"p{i}" not in keep or bool(keep[f"p{i}"].any())]
    call.rewrite(tensors=stays)


def _stack_relation(call: Call) -> Relation:
    rank = len(call.output.shape)
    axis = call["dim"] % rank
    names = [f"a{i}" for i in range(rank - 1)]
    left = ",".join([" ".join(names)] * len(call.inputs))
    right = " ".join([*names[:axis], "_", *names[axis:]])
    return relate(f"{left} -> {right}", call.inputs, call.outputs)


def _split_relation(call: Call) -> Relation:
    source = call.inputs[0]
    axis = call["dim"] % len(source.shape)
    others = _elementwise_axes(call, axis)
    pieces = [value.size(axis) for value in call.outputs]
    sizes = [size for size in pieces if size is not None]
    if source.size(axis) is None or len(sizes) < len(pieces):
        return others
    links = [whole(value, axis, f"p{i}", i, True) for i, value in enumerate(call.outputs)]
    links.append(concatenated(source, axis, sizes, 0, False))
    return Relation((*others.links, *links), {**others.sizes, **{f"p{i}": size for i, size in enumerate(sizes)}})


def _split_by_sizes(call: Call, relation: Relation, cut: Cut, keep: Keep) -> None:
    axis = call["dim"] % len(call.inputs[0].shape)
    if all(cut.kept(value, axis) is None for value in call.outputs):
        return
    sizes = [cut.size(value, axis) for value in call.outputs]
    call.node.target = aten.split_with_sizes.default
    call.node.args = (call.node.args[0], sizes, axis)
    call.node.kwargs = {}


def _unbind_relation(call: Call) -> Relation:
    source = call.tensor("self")
    axis = call["dim"] % len(source.shape)
    names = [f"a{i}" for i in range(len(source.shape))]
    left = " ".join("_" if i == axis else name for i, name in enumerate(names))
    right = " ".join(name for i, name in enumerate(names) if i != axis)
    return relate(f"{left} -> {','.join([right] * len(call.outputs))}", [source], call.outputs)


register(
    Rule(_cat_relation, carry, narrow=_cat_less, drops_operands=True),
    aten.cat.default,
    aten.concat.default,
    aten.concatenate.default,
)
register(Rule(_stack_relation, carry), aten.stack.default)
register(
    Rule(_split_relation, carry, narrow=_split_by_sizes),
    *(
        aten.split.Tensor,
        aten.split_with_sizes.default,
        aten.split.sizes,
        aten.chunk.default,
        aten.tensor_split.sections,
    ),
)
register(Rule(_unbind_relation, carry), aten.unbind.int)

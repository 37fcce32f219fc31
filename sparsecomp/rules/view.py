"""Operators that give the same elements another shape: reshape, permute, squeeze, expand, repeat and their kin.

Sizes that are written into the graph are rewritten when slices go.
"""

from collections.abc import Sequence
from typing import Any

import torch

from sparsecomp.rules.base import Cut, Keep, Relate, Rule, register
from sparsecomp.rules.call import Call
from sparsecomp.rules.carry import carry
from sparsecomp.rules.factors import shared_factors
from sparsecomp.rules.relation import Relation, relate

aten = torch.ops.aten


def _reshape_relation(call: Call) -> Relation:
    source = call.tensor("self")
    left, right, sizes = shared_factors(source.shape, call.output.shape)
    return relate(f"{left} -> {right}", [source], call.outputs, sizes)


def _resize(name: str) -> Any:
    """Narrow by rewriting the list of result sizes that the operator takes as argument ``name``."""

    def narrow(call: Call, relation: Relation, cut: Cut, keep: Keep) -> None:
        given = list(call[name])
        first = len(call.output.shape) - len(given) if name != "sizes" else int(call["dim"]) % len(call.inputs[0].shape)
        for i, size in enumerate(given):
            if size != -1 and cut.kept(call.output, first + i) is not None:
                given[i] = cut.size(call.output, first + i)
        call.rewrite(**{name: given})

    return narrow


def _axes_of(rank: int) -> list[str]:
    return [f"a{i}" for i in range(rank)]


def moves(order_of: Any) -> Relate:
    """The relation where result axes are input axes, as ``order_of(call, rank)`` lists them (None: a new one)."""

    def relation(call: Call) -> Relation:
        source = call.tensor("self")
        names = _axes_of(len(source.shape))
        order: Sequence[int | None] = order_of(call, len(names))
        right = " ".join("_" if axis is None else names[axis] for axis in order)
        return relate(f"{' '.join(names)} -> {right}", [source], call.outputs)

    return relation


def _permuted(call: Call, rank: int) -> list[int]:
    return [axis % rank for axis in call["dims"]]


def _transposed(call: Call, rank: int) -> list[int]:
    order = list(range(rank))
    one, other = (call[name] for name in ("dim0", "dim1")) if "dim0" in call.arguments else (0, rank - 1)
    order[one], order[other] = order[other], order[one]
    return order


def _matrix_transposed(call: Call, rank: int) -> list[int]:
    return [*range(rank - 2), rank - 1, rank - 2]


def _moved(call: Call, rank: int) -> list[int]:
    listed = [
        call[name] if isinstance(call[name], (list, tuple)) else [call[name]] for name in ("source", "destination")
    ]
    place = {to % rank: axis % rank for axis, to in zip(*listed, strict=True)}
    rest = iter(axis for axis in range(rank) if axis not in place.values())
    return [place[to] if to in place else next(rest) for to in range(rank)]


def _unsqueezed(call: Call, rank: int) -> list[int | None]:
    order: list[int | None] = list(range(rank))
    order.insert(call["dim"] % (rank + 1), None)
    return order


def _squeezed(call: Call, rank: int) -> list[int]:
    gone = _squeezed_axes(call)
    return [axis for axis in range(rank) if axis not in gone]


def _squeezed_axes(call: Call) -> list[int]:
    source = call.tensor("self")
    rank = len(source.shape)
    given = call.arguments.get("dim")
    listed = range(rank) if given is None else given if isinstance(given, (list, tuple)) else [given]
    return [axis % rank for axis in listed if source.size(axis) == 1]


def _keep_squeezing(call: Call, relation: Relation, cut: Cut, keep: Keep) -> None:
    """Name the axes, so that one that is narrowed to a single slice stays."""
    call.node.args = (call.node.args[0], _squeezed_axes(call))
    call.node.kwargs = {}
    call.node.target = aten.squeeze.dims


def _expand_relation(call: Call) -> Relation:
    return relate("... -> ...", [call.tensor("self")], call.outputs)


def _repeat_relation(call: Call) -> Relation:
    source = call.tensor("self")
    times = call.integers("repeats")
    names = _axes_of(len(source.shape))
    if times is None or len(names) == 0:
        return relate("* -> *", [source], call.outputs)
    new = len(times) - len(names)
    sizes = {f"r{i}": count for i, count in enumerate(times)}
    right = " ".join(f"r{i}" if i < new else f"(r{i} {names[i - new]})" for i in range(len(times)))
    return relate(f"{' '.join(names)} -> {right}", [source], call.outputs, sizes)


def _repeat_fewer(call: Call, relation: Relation, cut: Cut, keep: Keep) -> None:
    call.rewrite(
        repeats=[int(keep[f"r{i}"].sum()) if f"r{i}" in keep else count for i, count in enumerate(call["repeats"])]
    )


def _interleave_relation(call: Call) -> Relation:
    source, dim, times = call.tensor("self"), call["dim"], call["repeats"]
    names = _axes_of(len(source.shape))
    if dim is None or not isinstance(times, int):
        return relate("* -> *", [source], call.outputs)
    right = list(names)
    right[dim] = f"({names[dim]} r)"
    return relate(f"{' '.join(names)} -> {' '.join(right)}", [source], call.outputs, {"r": times})


def _interleave_fewer(call: Call, relation: Relation, cut: Cut, keep: Keep) -> None:
    call.rewrite(repeats=int(keep["r"].sum()) if "r" in keep else call["repeats"], output_size=None)


def _move_rule(order_of: Any) -> Rule:
    return Rule(moves(order_of), carry)


register(Rule(_reshape_relation, carry, narrow=_resize("size")), aten.view.default, aten._unsafe_view.default)
register(Rule(_reshape_relation, carry, narrow=_resize("shape")), aten.reshape.default)
register(Rule(_reshape_relation, carry, narrow=_resize("sizes")), aten.unflatten.int)
register(Rule(_reshape_relation, carry), aten.flatten.using_ints)
register(_move_rule(_permuted), aten.permute.default)
register(_move_rule(_transposed), aten.transpose.int, aten.t.default)
register(_move_rule(_matrix_transposed), aten.mT.default)
register(_move_rule(_moved), aten.movedim.int, aten.movedim.intlist)
register(_move_rule(_unsqueezed), aten.unsqueeze.default)
register(
    Rule(moves(_squeezed), carry, narrow=_keep_squeezing),
    *(aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims),
)
register(Rule(_expand_relation, carry, narrow=_resize("size")), aten.expand.default, aten.broadcast_to.default)
register(Rule(_repeat_relation, carry, narrow=_repeat_fewer), aten.repeat.default)
register(Rule(_interleave_relation, carry, narrow=_interleave_fewer), aten.repeat_interleave.self_int)
register(
    Rule(lambda call: relate("... -> ...", [call.tensor("self")], call.outputs), carry),
    *(aten.clone.default, aten.contiguous.default, aten.detach.default, aten.alias.default),
)

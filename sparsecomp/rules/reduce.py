"""Reductions, scans and sorts: the axes they work along stay whole (a sum can lose zeros), the others are free."""

from collections.abc import Callable

import torch
from torch import Tensor

from sparsecomp.facts import AxisFacts, TensorFacts
from sparsecomp.rules.base import Cut, Keep, Rule, nothing_known, register
from sparsecomp.rules.call import Call
from sparsecomp.rules.carry import carry
from sparsecomp.rules.contraction import contract_demand
from sparsecomp.rules.relation import Relation, relate
from sparsecomp.rules.table import FactTable

aten = torch.ops.aten

Reduced = Callable[[AxisFacts, int | None], tuple[Tensor, Tensor]]
"""Which slices of the result are constant, and which numbers, given the input and how many elements are reduced."""


def _reduced_axes(call: Call) -> list[int]:
    rank = len(call.inputs[0].shape)
    given = call.arguments.get("dim")
    if given is None or given == []:
        return list(range(rank))
    return [axis % rank for axis in (given if isinstance(given, (list, tuple)) else [given])]


def _relation(named: bool) -> Callable[[Call], Relation]:
    """``named``: the reduced axes are variables; otherwise they cannot be narrowed."""

    def relation(call: Call) -> Relation:
        reduced = _reduced_axes(call)
        rank = len(call.inputs[0].shape)
        left = [f"a{i}" if named or i not in reduced else "_" for i in range(rank)]
        kept_axes = rank == len(call.output.shape)
        right = ["_" if i in reduced else f"a{i}" for i in range(rank) if kept_axes or i not in reduced]
        results = ",".join([" ".join(right)] * len(call.outputs))
        return relate(f"{' '.join(left)} -> {results}", [call.inputs[0]], call.outputs)

    return relation


def _forward(reduced: Reduced) -> Callable[[Call, Relation, FactTable], list[TensorFacts]]:
    def forward(call: Call, relation: Relation, facts: FactTable) -> list[TensorFacts]:
        count = _count(call)
        found: list[AxisFacts | None] = []
        for known in carry(call, relation, facts)[0]:
            if known is None:
                found.append(None)
                continue
            constant, number = reduced(known, count)
            found.append(AxisFacts.of(constant, number.to(known.value.dtype), known.classes))
        return [tuple(found), *nothing_known(call, relation, facts)[1:]]

    return forward


def _count(call: Call) -> int | None:
    count = 1
    for axis in _reduced_axes(call):
        size = call.inputs[0].size(axis)
        if size is None:
            return None
        count *= size
    return count


def _same(known: AxisFacts, count: int | None) -> tuple[Tensor, Tensor]:
    return known.constant, known.value


def _times_count(known: AxisFacts, count: int | None) -> tuple[Tensor, Tensor]:
    return (known.zero, known.value) if count is None else (known.constant, known.value * count)


def _only_zero(known: AxisFacts, count: int | None) -> tuple[Tensor, Tensor]:
    return known.zero, known.value


def _only_equal(known: AxisFacts, count: int | None) -> tuple[Tensor, Tensor]:
    """Nothing is constant; equal slices still give equal results."""
    return torch.zeros_like(known.constant), known.value


def _equal_shares(known: AxisFacts, count: int | None) -> tuple[Tensor, Tensor]:
    finite = known.constant & known.value.isfinite()
    return (finite, torch.full_like(known.value, 1 / count)) if count else _only_equal(known, count)


def _mean_of_fewer(call: Call, relation: Relation, cut: Cut, keep: Keep) -> None:
    """A mean over fewer elements divides by the number that there were: it becomes a sum and a factor."""
    source = call.inputs[0]
    if all(cut.kept(source, axis) is None for axis in _reduced_axes(call)):
        return
    count = _count(call)
    assert count is not None, "an axis that loses slices has a static size"
    call.rewrite(aten.sum.dim_IntList, dim=_reduced_axes(call), keepdim=bool(call.arguments.get("keepdim", False)))
    cut.append(call.output, aten.mul.Tensor, 1.0 / count)


def _mean_relation(call: Call) -> Relation:
    """Reduced axes can lose zeros where all of them have a static size."""
    return _relation(named=_count(call) is not None)(call)


def _along(reduced: Reduced) -> Rule:
    return Rule(_relation(named=False), _forward(reduced))


def _whole_axis(call: Call) -> Relation:
    """Scans and sorts: the result has the shape of the input."""
    rank = len(call.inputs[0].shape)
    text = " ".join("_" if i in _reduced_axes(call) else f"a{i}" for i in range(rank))
    return relate(f"{text} -> {','.join([text] * len(call.outputs))}", [call.inputs[0]], call.outputs)


register(
    _along(_same),
    *(aten.amax.default, aten.amin.default, aten.max.dim, aten.min.dim),
    *(aten.any.dim, aten.all.dim, aten.median.dim),
)
register(Rule(_mean_relation, _forward(_same), contract_demand, _mean_of_fewer), aten.mean.dim, aten.mean.default)
register(Rule(_relation(named=True), _forward(_times_count), contract_demand), aten.sum.dim_IntList, aten.sum.default)
register(
    _along(_only_zero),
    *(aten.var.correction, aten.std.correction, aten.linalg_vector_norm.default, aten.prod.dim_int),
)
register(_along(_only_equal), aten.argmax.default, aten.argmin.default, aten.logsumexp.default)
register(Rule(_whole_axis, _forward(_equal_shares)), aten.softmax.int, aten._softmax.default)
register(Rule(_whole_axis, _forward(_only_equal)), aten.log_softmax.int, aten.argsort.default)
register(Rule(_whole_axis, _forward(_only_zero)), aten.cumsum.default)
register(Rule(_whole_axis, _forward(_same)), aten.sort.default)
register(Rule(_relation(named=False), nothing_known), aten.topk.default)

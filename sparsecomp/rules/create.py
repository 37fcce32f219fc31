"""Operators that create a tensor from numbers, look rows up in a table, or ask a tensor for its shape only."""

from typing import Any

import torch
from torch import Tensor

from sparsecomp.facts import AxisFacts, TensorFacts
from sparsecomp.rules.base import Cut, Keep, Rule, register
from sparsecomp.rules.call import Call
from sparsecomp.rules.relation import Relation, relate
from sparsecomp.rules.table import FactTable

aten = torch.ops.aten


def _shape_relation(call: Call) -> Relation:
    """Axes of a tensor that is asked for its shape are free; except the one whose size is the answer."""
    texts = []
    for value in call.inputs:
        asked = call.arguments.get("dim")
        names = [f"s{i}" for i in range(len(value.shape))]
        if isinstance(asked, int):
            names[asked] = "_"
        texts.append(" ".join(names))
    results = [" ".join(f"a{i}" for i in range(len(value.shape))) for value in call.outputs]
    return relate(f"{','.join(texts)} -> {','.join(results)}", call.inputs or [None], call.outputs or [None])


def _nothing_needed(call: Call, relation: Relation, facts: FactTable, keep: Keep) -> dict[str, Tensor]:
    return {}


def _filled(number: float | None) -> Any:
    def forward(call: Call, relation: Relation, facts: FactTable) -> list[TensorFacts]:
        value = call.output
        filler = call.arguments.get("fill_value") if number is None else number
        if isinstance(filler, torch.fx.Node) or filler is None:
            return [(None,) * len(value.shape)]
        return [tuple(_all_slices(value.size(axis), filler, value.dtype) for axis in range(len(value.shape)))]

    return forward


def _all_slices(size: int | None, filler: Any, dtype: torch.dtype) -> AxisFacts | None:
    if size is None:
        return None
    return AxisFacts.of(torch.ones(size, dtype=torch.bool), torch.full((size,), filler, dtype=dtype))


def _smaller(call: Call, relation: Relation, cut: Cut, keep: Keep) -> None:
    sizes = list(call["size"])
    for axis in range(len(sizes)):
        if cut.kept(call.output, axis) is not None:
            sizes[axis] = cut.size(call.output, axis)
    call.rewrite(size=sizes)


def _no_outputs(call: Call, relation: Relation, facts: FactTable) -> list[TensorFacts]:
    return []


def _embedding_relation(call: Call) -> Relation:
    return relate("_ d, ... -> ... d", [call.tensor("weight"), call.tensor("indices")], call.outputs)


def _embedding_forward(call: Call, relation: Relation, facts: FactTable) -> list[TensorFacts]:
    """A column that is constant over the whole table is constant in whatever is looked up."""
    return [(None,) * (len(call.output.shape) - 1) + (facts.axis(call.tensor("weight"), 1),)]


register(Rule(_shape_relation, _no_outputs, _nothing_needed), aten.sym_size.int)
register(Rule(_shape_relation, _filled(None), _nothing_needed, _smaller), aten.full.default, aten.new_full.default)
register(Rule(_shape_relation, _filled(0), _nothing_needed, _smaller), aten.zeros.default, aten.new_zeros.default)
register(Rule(_shape_relation, _filled(1), _nothing_needed, _smaller), aten.ones.default, aten.new_ones.default)
register(Rule(_embedding_relation, _embedding_forward), aten.embedding.default)

"""Activations with a parameter or a gate: prelu, glu."""

import torch

from sparsecomp.facts import AxisFacts, TensorFacts
from sparsecomp.rules.base import Rule, register
from sparsecomp.rules.call import Call
from sparsecomp.rules.pointwise import broadcast
from sparsecomp.rules.relation import Relation, relate
from sparsecomp.rules.spatial import all_of
from sparsecomp.rules.table import FactTable

aten = torch.ops.aten


def _prelu_relation(call: Call) -> Relation:
    source, weight = call.tensor("self"), call.tensor("weight")
    if weight.size(0) == 1 or len(source.shape) < 2:
        return broadcast(call)
    return relate("b c *, c -> b c *", [source, weight], call.outputs)


def _prelu_forward(call: Call, relation: Relation, facts: FactTable) -> list[TensorFacts]:
    source, weight = call.tensor("self"), call.tensor("weight")
    found: list[AxisFacts | None] = [None] * len(call.output.shape)
    if len(source.shape) < 2 or source.size(1) is None or weight.size(0) != source.size(1):
        return [tuple(found)]
    known, slope = facts.known(source, 1), facts.known(weight, 0)
    result = torch.where(known.value > 0, known.value, known.value * slope.value)
    constant = known.constant & (slope.constant | (known.value >= 0)) & result.isfinite()
    found[1] = AxisFacts.of(constant, result, torch.stack((known.classes, slope.classes), dim=1))
    return [tuple(found)]


def _glu_relation(call: Call) -> Relation:
    rank = len(call.output.shape)
    names = [f"a{i}" for i in range(rank)]
    left = list(names)
    left[call["dim"]] = f"(h {names[call['dim']]})"
    return relate(f"{' '.join(left)} -> {' '.join(names)}", call.inputs, call.outputs, {"h": 2})


def _glu_forward(call: Call, relation: Relation, facts: FactTable) -> list[TensorFacts]:
    """``a * sigmoid(b)`` of two constants, or of a zero ``a``."""
    source, rank = call.tensor("self"), len(call.output.shape)
    axis = call["dim"] % rank
    found: list[AxisFacts | None] = [None] * rank
    if source.size(axis) is None:
        return [tuple(found)]
    known = facts.known(source, axis)
    half = known.size // 2
    value, gate = known.take(torch.arange(half)), known.take(torch.arange(half, known.size))
    result = torch.where(value.zero, 0, value.value * gate.value.sigmoid())
    constant = (value.zero | (value.constant & gate.constant)) & result.isfinite()
    labels = torch.stack((known.classes[:half], known.classes[half:]), dim=1)
    found[axis] = AxisFacts.of(constant, result, labels)
    return [tuple(found)]


register(Rule(_prelu_relation, _prelu_forward), aten.prelu.default)
register(Rule(_glu_relation, _glu_forward, all_of("h")), aten.glu.default)

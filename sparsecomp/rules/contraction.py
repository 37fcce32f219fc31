"""Sums of products in general: over the contracted variables, of one element of each operand.

Zero is absorbing: a result slice is zero if some operand is zero there, an index of a contracted variable adds
nothing if some operand is zero at it. This holds while the other operands are finite.
"""

import torch
from torch import Tensor

from sparsecomp.facts import AxisFacts, TensorFacts
from sparsecomp.rules.base import Keep, Relate, Rule, register
from sparsecomp.rules.call import Call, Value
from sparsecomp.rules.relation import ABSENT, Link, Relation, relate
from sparsecomp.rules.table import FactTable


def axes(equation: str, *overloads: object) -> None:
    """Give operators that are sums of products over all of their tensors a rule made from an axis equation."""
    register(contraction(lambda call: relate(equation, call.inputs, call.outputs)), *overloads)


def contraction(relation_of: Relate) -> Rule:
    """The rule of a plain sum of products with this relation."""
    return Rule(relation_of, product_forward, contract_demand)


def product_forward(call: Call, relation: Relation, facts: FactTable) -> list[TensorFacts]:
    """Zero and equal slices of a plain sum of products."""
    value = call.output
    if _vanishes(call, relation, facts):
        return [tuple(_zeros(value, axis) for axis in range(len(value.shape)))]
    return [tuple(_product_axis(call, relation, facts, axis) for axis in range(len(value.shape)))]


def _zeros(value: Value, axis: int) -> AxisFacts | None:
    size = value.size(axis)
    if size is None:
        return None
    return AxisFacts.of(torch.ones(size, dtype=torch.bool), torch.zeros(size, dtype=value.dtype))


def _vanishes(call: Call, relation: Relation, facts: FactTable) -> bool:
    """Whether every term of the sum has a zero factor."""
    everywhere = {name: torch.ones(size, dtype=torch.bool) for name, size in relation.sizes.items()}
    needed = contract_demand(call, relation, facts, everywhere)
    return any(not bool(mask.any()) for mask in needed.values())


def _product_axis(call: Call, relation: Relation, facts: FactTable, axis: int) -> AxisFacts | None:
    target = next((k for k in relation.of_role(0, is_output=True) if k.axis == axis), None)
    if target is None or len(target.parts) != 1:
        return None
    name = target.parts[0][0]
    zero = torch.zeros(target.size, dtype=torch.bool)
    labels = []
    for link in _linked(relation, name):
        known = facts.known(link.value, link.axis)
        if len(link.parts) > 1:
            return None
        zero |= known.zero & torch.tensor(_others_finite(call, link, facts))
        labels.append(known.classes)
    if not labels:
        return None
    return AxisFacts.of(zero, torch.zeros(target.size, dtype=target.value.dtype), torch.stack(labels, dim=1))


def _linked(relation: Relation, name: str) -> list[Link]:
    return [link for link in relation.links if not link.is_output and name in link.variables()]


def _others_finite(call: Call, link: Link, facts: FactTable) -> bool:
    return all(facts.finite(value) for role, value in enumerate(call.inputs) if role != link.role)


def contract_demand(call: Call, relation: Relation, facts: FactTable, keep: Keep) -> dict[str, Tensor]:
    """An index is needed unless an operand is zero wherever it occurs."""
    needed = {}
    for name in relation.contracted():
        mask = torch.ones(relation.sizes[name], dtype=torch.bool)
        for link in _linked(relation, name):
            known = facts.axis(link.value, link.axis)
            if known is not None and _others_finite(call, link, facts):
                mask &= _occurs_nonzero(link, name, known.zero, keep)
        needed[name] = mask
    return needed


def _occurs_nonzero(link: Link, name: str, zero: Tensor, keep: Keep) -> Tensor:
    """For each index of the variable whether some slice with it is not known to be zero."""
    occurs = torch.zeros_like(keep[name])
    index = dict(link.parts)[name]
    occurs[index[~zero & (index != ABSENT)]] = True
    return occurs

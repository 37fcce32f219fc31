"""Facts through operators that only move elements: views, permutations, concatenations, selections.

All follow from the relation. A slice of the result lies in slices of an input (then it inherits their constant), or
is a union of slices (then all of these must agree), or both at once (heads merged on one side and split on the
other).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sparsecomp.facts import AxisFacts, TensorFacts
from sparsecomp.rules.call import Call, Value
from sparsecomp.rules.relation import ABSENT, Link, Relation
from sparsecomp.rules.table import FactTable


def carry(call: Call, relation: Relation, facts: FactTable) -> list[TensorFacts]:
    """Forward rule of an operator whose every result element is one element of one input."""
    return _carry(call, call.inputs, relation, facts)


def carry_first(call: Call, relation: Relation, facts: FactTable) -> list[TensorFacts]:
    """As `carry`, where only the first input has the elements; the others say where they go."""
    return _carry(call, call.inputs[:1], relation, facts)


def _carry(call: Call, inputs: Sequence[Value], relation: Relation, facts: FactTable) -> list[TensorFacts]:
    return [
        tuple(_carry_axis(inputs, relation, facts, role, axis) for axis in range(len(value.shape)))
        for role, value in enumerate(call.outputs)
    ]


def _carry_axis(
    inputs: Sequence[Value], relation: Relation, facts: FactTable, role: int, axis: int
) -> AxisFacts | None:
    target = next((link for link in relation.of_role(role, is_output=True) if link.axis == axis), None)
    if target is None:
        return None
    found: AxisFacts | None = None
    covered = torch.zeros(target.size, dtype=torch.bool)
    for source, value in enumerate(inputs):
        links = relation.of_role(source, is_output=False)
        coverage = covers(target, links)
        if not bool(coverage.any()):
            continue
        arriving = arrive(value, links, target, facts)
        found = arriving if found is None else _merge(found, covered, arriving, coverage)
        covered |= coverage
    return found


def covers(target: Link, links: Sequence[Link]) -> Tensor:
    """The slices of ``target`` that hold elements of the operand with these links."""
    names = set().union(*(link.variables() for link in links))
    covered = torch.ones(target.size, dtype=torch.bool)
    for name, index in target.parts:
        if name in names:
            covered &= index != ABSENT
    return covered


def _merge(one: AxisFacts, has_one: Tensor, other: AxisFacts, has_other: Tensor) -> AxisFacts:
    """Facts of slices that hold elements of either operand, or of both."""
    agree = one.constant & other.constant & (one.value == other.value)
    constant = torch.where(has_one & has_other, agree, torch.where(has_one, one.constant, other.constant))
    value = torch.where(has_one, one.value, other.value)
    labels = torch.stack((has_one, has_other, has_one * one.classes, has_other * other.classes), dim=1)
    return AxisFacts.of(constant, value, labels)


def arrive(value: Value, links: Sequence[Link], target: Link, facts: FactTable) -> AxisFacts:
    """What the facts of one operand say of the slices of ``target`` that it covers."""
    number = facts.uniform(value)
    if number is not None:
        return AxisFacts.of(
            torch.ones(target.size, dtype=torch.bool), number.to(target.value.dtype).expand(target.size)
        )
    constant = torch.zeros(target.size, dtype=torch.bool)
    result = torch.zeros(target.size, dtype=target.value.dtype)
    for link in links:
        known = facts.axis(value, link.axis)
        shared = [name for name, _ in link.parts if name in target.variables()]
        if known is None or not shared:
            continue
        group, place = _groups(link, target, shared)
        group_constant, group_value = _agree(known, group, int(place.max()) + 1)
        inherited = (place >= 0) & group_constant[place.clamp(min=0)]
        result = torch.where(inherited & ~constant, group_value[place.clamp(min=0)].to(result.dtype), result)
        constant |= inherited
    return AxisFacts.of(constant, result, _labels(value, links, target, facts))


def _groups(link: Link, target: Link, shared: list[str]) -> tuple[Tensor, Tensor]:
    """Number the index tuples of shared variables: for each slice of ``link`` and ``target`` its tuple, or ABSENT."""
    ours, theirs = dict(link.parts), dict(target.parts)
    one = torch.stack([ours[name] for name in shared], dim=1)
    other = torch.stack([theirs[name] for name in shared], dim=1)
    numbers = _numbers(torch.cat((one, other)))
    absent = torch.tensor(ABSENT)
    group = torch.where((one == ABSENT).any(dim=1), absent, numbers[: len(one)])
    place = torch.where((other == ABSENT).any(dim=1), absent, numbers[len(one) :])
    return group, place


def _numbers(tuples: Tensor) -> Tensor:
    """A number for each row of indices, the same for equal ones; few are left out."""
    number = torch.zeros(len(tuples), dtype=torch.int64)
    for index in (tuples - ABSENT).unbind(dim=1):
        number = number * (int(index.max()) + 1) + index
    few = int(number.max()) < 4 * len(number)
    return number if few else torch.unique(number, return_inverse=True)[1]


def _agree(known: AxisFacts, group: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """For each group of slices: are all the same constant, and which."""
    count = max(count, int(group.max()) + 1, 1)
    usable = group >= 0
    member, constant, value = group[usable], known.constant[usable], known.value[usable]
    first = torch.full((count,), len(member), dtype=torch.int64)
    first.scatter_reduce_(0, member, torch.arange(len(member)), reduce="amin")
    filled = first < len(member)
    group_value = value[first.clamp(max=max(len(member) - 1, 0))] if len(member) else torch.zeros(count).to(value)
    agrees = filled.clone()
    dissent = member[~(constant & (value == group_value[member]))]
    agrees[dissent] = False
    return agrees, group_value


def _labels(value: Value, links: Sequence[Link], target: Link, facts: FactTable) -> Tensor:
    """Slices of ``target`` with equal labels are equal: they differ in variables of this operand, up to its classes."""
    ours = set().union(*(link.variables() for link in links))
    left = {name: index for name, index in target.parts if name in ours}
    columns = []
    for link in links:
        known = facts.axis(value, link.axis)
        names = [name for name, _ in link.parts]
        if known is None or not all(name in left for name in names):
            continue
        group, place = _groups(link, target, names)
        class_of_group = torch.full((int(max(group.max(), place.max())) + 2,), ABSENT)
        class_of_group[group[group >= 0]] = known.classes[group >= 0]
        columns.append(torch.where(place >= 0, class_of_group[place.clamp(min=0)], place))
        for name in names:
            left.pop(name)
    columns += list(left.values())
    return torch.stack(columns, dim=1) if columns else torch.zeros(target.size, 1, dtype=torch.int64)

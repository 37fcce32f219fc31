"""Facts through a whole graph: constants and equalities forward, readers backward.

The graph has no cycles, so one sweep in each direction reaches the fixed point. Forward facts do not depend on
readers; readers depend on constants, because a slice that is known need not be computed from anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from sparsecomp.rules.base import RULES, Rule
from sparsecomp.rules.call import Call, Value, is_call, outputs_of
from sparsecomp.rules.relation import ABSENT, NOTHING, Link, Relation
from sparsecomp.rules.table import FactTable


@dataclass(frozen=True)
class Application:
    """A call, its rule and what the rule says of its axes. ``rule`` is None for an operator that has none."""

    call: Call
    rule: Rule | None
    relation: Relation


def applications(module: GraphModule) -> dict[Node, Application]:
    """All operator calls of the graph, in order."""
    found: dict[Node, Application] = {}
    for node in module.graph.nodes:
        if is_call(node):
            call = Call(node)
            rule = None if _is_empty(call) else RULES.get(node.target)
            found[node] = Application(call, rule, rule.relate(call) if rule else NOTHING)
    return found


def _is_empty(call: Call) -> bool:
    """Whether no tensor takes part, or one without elements, where little of what holds otherwise does."""
    values = (*call.inputs, *call.outputs)
    return not values or any(value.size(axis) == 0 for value in values for axis in range(len(value.shape)))


def constants(module: GraphModule, calls: Mapping[Node, Application]) -> FactTable:
    """What is known of every tensor of the graph, whatever the inputs are."""
    table = FactTable(module)
    for application in calls.values():
        forward_call(application, table)
    return table


def forward_call(application: Application, table: FactTable) -> None:
    """Record what one call makes known of its outputs."""
    if application.rule is None:
        return
    found = application.rule.forward(application.call, application.relation, table)
    for value, facts in zip(application.call.outputs, found, strict=True):
        table.record(value, facts)


Reads = dict[tuple[Value, int], Tensor]
"""For each axis of static size of each tensor: bool, the slices that something reads."""


def readers(module: GraphModule, calls: Mapping[Node, Application], table: FactTable) -> Reads:
    """Which slices of every tensor take part in computing the outputs of the graph."""
    reads: Reads = {}
    for node in module.graph.nodes:
        for value in outputs_of(node):
            for axis in range(len(value.shape)):
                if (size := value.size(axis)) is not None:
                    reads[value, axis] = torch.zeros(size, dtype=torch.bool)
    for node in reversed(module.graph.nodes):
        if node.op == "output":
            for value in Call(node).inputs:
                _read_all(reads, value)
        elif node in calls:
            backward_call(calls[node], table, reads)
    return reads


def backward_call(application: Application, table: FactTable, reads: Reads) -> None:
    """Mark the input slices that a call reads to compute those of its output slices that are read and not known."""
    call, relation = application.call, application.relation
    wanted = {value: _wanted(value, table, reads) for value in call.outputs}
    if call.outputs and not any(wanted.values()):
        return
    if application.rule is None:
        for value in call.inputs:
            _read_all(reads, value)
        return
    keep = {name: torch.zeros(size, dtype=torch.bool) for name, size in relation.sizes.items()}
    for role, value in enumerate(call.outputs):
        if wanted[value]:
            _mark_variables(keep, relation.of_role(role, is_output=True), wanted[value])
    keep.update({name: torch.zeros(relation.sizes[name], dtype=torch.bool) for name in relation.contracted()})
    for name, needed in application.rule.demand(call, relation, table, keep).items():
        keep[name] = keep[name] | needed
    for value in call.inputs:
        for axis in range(len(value.shape)):
            if (value, axis) in reads:
                reads[value, axis] |= _reads_of_axis(application, value, axis, keep)


def _wanted(value: Value, table: FactTable, reads: Reads) -> dict[int, Tensor]:
    """By axis, the slices that must be computed; empty if the tensor is not needed at all."""
    wanted = {}
    for axis in range(len(value.shape)):
        if (value, axis) not in reads:
            continue
        facts = table.axis(value, axis)
        wanted[axis] = reads[value, axis] & ~facts.constant if facts is not None else reads[value, axis]
        if not bool(wanted[axis].any()):
            return {}
    return wanted or {-1: torch.ones(1, dtype=torch.bool)}


def _mark_variables(keep: dict[str, Tensor], links: list[Link], wanted: dict[int, Tensor]) -> None:
    """An index is wanted if, on every axis of this output that has the variable, a slice with it is."""
    marks: dict[str, Tensor] = {}
    for link in links:
        for name, index in link.parts:
            here = torch.zeros_like(keep[name])
            here[index[wanted[link.axis] & (index != ABSENT)]] = True
            marks[name] = marks[name] & here if name in marks else here
    for name, mark in marks.items():
        keep[name] |= mark


def _reads_of_axis(application: Application, value: Value, axis: int, keep: dict[str, Tensor]) -> Tensor:
    links = application.relation.of_input(value, axis)
    if len(links) < application.call.inputs.count(value):
        return torch.ones(int(value.shape[axis]), dtype=torch.bool)
    return torch.stack([slices_kept(link, keep) for link in links]).any(dim=0)


def slices_kept(link: Link, keep: dict[str, Tensor]) -> Tensor:
    """The slices all of whose variables keep their index."""
    kept = torch.ones(link.size, dtype=torch.bool)
    for name, index in link.parts:
        kept &= keep[name][index.clamp(min=0)] | (index == ABSENT)
    return kept


def _read_all(reads: Reads, value: Value) -> None:
    for axis in range(len(value.shape)):
        if (value, axis) in reads:
            reads[value, axis].fill_(True)

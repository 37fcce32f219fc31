"""What a rule is, and the registry of rules by operator.

A rule answers for one operator: how its axes belong together (`Rule.relate`), which slices of its results are
constant or equal (`Rule.forward`), which of its input slices it needs (`Rule.demand`), and how it is written with
fewer slices (`Rule.narrow`). Unneeded input slices follow from the relation alone, except for contracted variables,
which `demand` decides.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.fx import Node

from sparsecomp.facts import TensorFacts
from sparsecomp.rules.call import Call, Value
from sparsecomp.rules.relation import Relation
from sparsecomp.rules.table import FactTable

Keep = Mapping[str, Tensor]
"""For each variable of a relation: bool, the indices that are kept."""


class Cut(Protocol):
    """What `Rule.narrow` may ask and do while the graph is rewritten. Facts and shapes are those before the cut."""

    facts: FactTable

    def kept(self, value: Value, axis: int) -> Tensor | None:
        """Indices (int64, ascending) that stay of an axis; None if all of them do."""

    def indices(self, value: Value, axis: int) -> Tensor:
        """As `kept`, for an axis of static size, with all indices spelled out."""

    def size(self, value: Value, axis: int) -> int | torch.SymInt:
        """New size of an axis."""

    def constant(self, near: Node, name: str, data: Tensor) -> Node:
        """A new constant of the module, as a node before ``near``."""

    def replace(self, value: Value, data: Tensor) -> None:
        """New elements, of the shape before the cut, for a parameter that only this call reads."""

    def append(self, value: Value, target: Any, *arguments: Any) -> None:
        """Let every reader of ``value`` read ``target(value, *arguments)`` instead."""


Relate = Callable[[Call], Relation]
Forward = Callable[[Call, Relation, FactTable], list[TensorFacts]]
Demand = Callable[[Call, Relation, FactTable, Keep], dict[str, Tensor]]
Narrow = Callable[[Call, Relation, Cut, Keep], None]


def nothing_known(call: Call, relation: Relation, facts: FactTable) -> list[TensorFacts]:
    """No claim about any result."""
    return [(None,) * len(value.shape) for value in call.outputs]


def need_everything(call: Call, relation: Relation, facts: FactTable, keep: Keep) -> dict[str, Tensor]:
    """Every index of every contracted variable is needed."""
    return {name: torch.ones(relation.sizes[name], dtype=torch.bool) for name in relation.contracted()}


def same_call(call: Call, relation: Relation, cut: Cut, keep: Keep) -> None:
    """The same operator with the same arguments does it: its shapes follow from its inputs."""


@dataclass(frozen=True)
class Rule:
    """The answers for one operator.

    Attributes:
        relate: the relation of a call.
        forward: for each output, facts for each axis.
        demand: for contracted variables, the indices that are needed to compute the kept slices of the results exactly.
            Must not need less where more is kept.
        narrow: rewrite the call, whose operands lose all slices that are not kept.
        drops_operands: `narrow` leaves an operand out of which nothing stays; otherwise one slice stays.
    """

    relate: Relate
    forward: Forward = nothing_known
    demand: Demand = need_everything
    narrow: Narrow = same_call
    drops_operands: bool = False


RULES: dict[Any, Rule] = {}


def register(rule: Rule, *overloads: Any) -> None:
    """Give operators their rule. Each has one; a second registration raises."""
    for overload in overloads:
        if overload in RULES:
            raise ValueError(f"{overload} has a rule already")
        RULES[overload] = rule

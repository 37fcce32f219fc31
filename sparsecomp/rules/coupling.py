"""Which slices can go: the least set that must stay, closed over everything that ties axes together.

A networkx graph ties every axis of every tensor to the index variables of the calls that touch it, with the index
map on the edge. A slice must stay if something needs it; then all that the law of `Relation` ties to it must stay.
The closure is a least fixed point, so what is left out is the most that can go. Every slice that stays carries its
cause: the need that it goes back to.
"""

from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass

import networkx as nx
import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from sparsecomp.rules.call import Value, outputs_of, value_of
from sparsecomp.rules.propagate import Application, slices_kept
from sparsecomp.rules.relation import ABSENT, Link
from sparsecomp.rules.table import FactTable

AxisKey = tuple[Value, int]
VariableKey = tuple[Node, str]
NO_WISHES: Mapping[AxisKey, Tensor] = {}


@dataclass(frozen=True)
class Cause:
    """Why a slice must stay: ``node`` needs it, because it ``why``."""

    node: Node
    why: str

    def __str__(self) -> str:
        return f"{self.node.name} {self.why}"


class Coupling:
    """The closure over a graph. After construction `kept` says what stays, `cause` why.

    Args:
        module: the graph.
        calls: its calls, from `propagate.applications`.
        table: its constants.
        free_inputs: inputs of the graph may be narrowed (for tests of single rules).
        wanted: which slices of inputs and outputs of the graph are needed; all of those of an axis that it lacks.
    """

    def __init__(
        self,
        module: GraphModule,
        calls: Mapping[Node, Application],
        table: FactTable,
        free_inputs: bool = False,
        wanted: Mapping[AxisKey, Tensor] | None = None,
    ) -> None:
        self.module = module
        self.calls = calls
        self.table = table
        self.causes: list[Cause] = []
        self.graph = nx.Graph()
        self.axes: dict[AxisKey, Tensor] = {}
        self.variables: dict[VariableKey, Tensor] = {}
        self._readers: dict[Value, list[Node]] = defaultdict(list)
        for node in module.graph.nodes:
            self._add_axes(node)
        for application in calls.values():
            self._tie(application)
        for node in module.graph.nodes:
            self._seed(node, free_inputs, wanted or {})
        self._close()

    def kept(self, value: Value, axis: int) -> Tensor | None:
        """Bool by slice; None for an axis of symbolic size, which stays whole."""
        cause = self.axes.get((value, axis))
        return cause > 0 if cause is not None else None

    def kept_variables(self, node: Node) -> dict[str, Tensor]:
        """For each variable of a call: bool by index."""
        return {name: self.variables[node, name] > 0 for name in self.calls[node].relation.sizes}

    def cause(self, value: Value, axis: int, index: int) -> Cause | None:
        """Why a slice stays, None if it goes."""
        number = int(self.axes[value, axis][index])
        return self.causes[number - 1] if number else None

    def groups(self) -> list[list[AxisKey]]:
        """Axes that are tied together, directly or through others; all in the order of the graph."""
        place = {key: i for i, key in enumerate(self.axes)}
        found = [[key for key in part if key in place] for part in nx.connected_components(self.graph)]
        return sorted((sorted(axes, key=place.__getitem__) for axes in found if axes), key=lambda axes: place[axes[0]])

    def _add_axes(self, node: Node) -> None:
        for value in outputs_of(node) if value_of(node) is None or value_of(node) == Value(node) else ():
            for axis in range(len(value.shape)):
                if (size := value.size(axis)) is not None:
                    self.axes[value, axis] = torch.zeros(size, dtype=torch.int64)
                    self.graph.add_node((value, axis))

    def _tie(self, application: Application) -> None:
        node = application.call.node
        for name, size in application.relation.sizes.items():
            self.variables[node, name] = torch.zeros(size, dtype=torch.int64)
        for link in application.relation.links:
            for name, index in link.parts:
                self.graph.add_edge((link.value, link.axis), (node, name), index=index)
        for value in {*application.call.inputs, *application.call.outputs}:
            self._readers[value].append(node)

    def _seed(self, node: Node, free_inputs: bool, wanted: Mapping[AxisKey, Tensor]) -> None:
        if node.op == "placeholder" and not free_inputs:
            self._need(outputs_of(node), Cause(node, "is an input"), wanted)
        elif node.op == "output":
            results = [value for each in node.all_input_nodes if (value := value_of(each)) is not None]
            self._need(results, Cause(node, "returns it"), wanted)
        elif node in self.calls:
            self._seed_call(self.calls[node])

    def _seed_call(self, application: Application) -> None:
        call = application.call
        if application.rule is None:
            cause = Cause(call.node, f"is {call.node.target}, an operator without a rule")
            self._need([*call.inputs, *call.outputs], cause)
            return
        cause = Cause(call.node, f"is {call.node.target}, which needs the whole axis")
        linked = {(link.value, link.axis) for link in application.relation.links if link.is_output}
        for value in call.outputs:
            self._need_axes([(value, a) for a in range(len(value.shape)) if (value, a) not in linked], cause)
        for value in set(call.inputs):
            roles = call.inputs.count(value)
            loose = [a for a in range(len(value.shape)) if len(application.relation.of_input(value, a)) < roles]
            self._need_axes([(value, axis) for axis in loose], cause)

    def _need(self, values: object, cause: Cause, wanted: Mapping[AxisKey, Tensor] = NO_WISHES) -> None:
        assert isinstance(values, (list, tuple))
        self._need_axes([(value, axis) for value in values for axis in range(len(value.shape))], cause, wanted)

    def _need_axes(self, keys: list[AxisKey], cause: Cause, wanted: Mapping[AxisKey, Tensor] = NO_WISHES) -> None:
        self.causes.append(cause)
        for key in keys:
            if key in self.axes:
                mask = wanted.get(key, torch.ones_like(self.axes[key], dtype=torch.bool))
                self.axes[key][mask & (self.axes[key] == 0)] = len(self.causes)

    def _close(self) -> None:
        ruled = [node for node, application in self.calls.items() if application.rule is not None]
        waiting = ruled
        while waiting:
            self._close_from(deque(reversed(waiting)))
            waiting = [node for node in ruled if self._leave_something(self.calls[node])]

    def _close_from(self, waiting: deque[Node]) -> None:
        queued = set(waiting)
        while waiting:
            node = waiting.popleft()
            queued.discard(node)
            for value in self._settle(self.calls[node]):
                for reader in self._readers[value]:
                    if reader != node and reader not in queued and self.calls[reader].rule is not None:
                        queued.add(reader)
                        waiting.append(reader)

    def _settle(self, application: Application) -> set[Value]:
        """Close one call over the law; the tensors of which more must stay."""
        changed: set[Value] = set()
        links = application.relation.links
        while True:
            self._to_variables(application.call.node, links)
            self._demand(application)
            now = [link for link in links if self._to_axis(application.call.node, link)]
            changed |= {link.value for link in now}
            if not now:
                return changed

    def _to_variables(self, node: Node, links: tuple[Link, ...]) -> None:
        for link in links:
            causes = self.axes[link.value, link.axis]
            for name, index in link.parts:
                _spread(self.variables[node, name], index, causes)

    def _demanded(self, application: Application) -> dict[str, Tensor]:
        rule, node = application.rule, application.call.node
        if rule is None or not self._is_wanted(application):
            return {}
        return rule.demand(application.call, application.relation, self.table, self.kept_variables(node))

    def _demand(self, application: Application) -> None:
        node = application.call.node
        for name, mask in self._demanded(application).items():
            self._keep_variable(node, name, mask, "reads it")

    def _leave_something(self, application: Application) -> bool:
        """Keep one index of what would lose all, though the result is needed; was there anything?

        That is a contracted variable or, except where a rule drops whole operands, an axis that is read.
        """
        first = {name: torch.tensor(0) for name in self._demanded(application)}
        for link in self._read_links(application):
            if not bool((self.axes[link.value, link.axis] > 0).any()):
                first |= {name: index[0] for name, index in link.parts if index[0] != ABSENT}
        kept = [self._keep_one(application.call.node, name, index) for name, index in first.items()]
        return any(kept)

    def _read_links(self, application: Application) -> list[Link]:
        if application.rule is None or application.rule.drops_operands or not self._is_wanted(application):
            return []
        return [link for link in application.relation.links if not link.is_output and link.size > 0]

    def _keep_one(self, node: Node, name: str, index: Tensor) -> bool:
        causes = self.variables[node, name]
        if causes.numel() == 0 or bool((causes > 0).any()):
            return False
        self._keep_variable(node, name, torch.arange(causes.numel()) == index, "must have something to work on")
        return True

    def _keep_variable(self, node: Node, name: str, mask: Tensor, why: str) -> None:
        causes = self.variables[node, name]
        new = mask & (causes == 0)
        if bool(new.any()):
            self.causes.append(Cause(node, why))
            causes[new] = len(self.causes)

    def _is_wanted(self, application: Application) -> bool:
        """Whether any result is needed: no axis of it has lost all slices."""
        outputs = application.call.outputs
        return not outputs or any(
            all(bool((self.axes[v, a] > 0).any()) for a in range(len(v.shape)) if (v, a) in self.axes) for v in outputs
        )

    def _to_axis(self, node: Node, link: Link) -> bool:
        causes = self.axes[link.value, link.axis]
        keep = {name: self.variables[node, name] > 0 for name, _ in link.parts}
        new = slices_kept(link, keep) & (causes == 0)
        if not bool(new.any()):
            return False
        for name, index in link.parts:
            from_variable = self.variables[node, name][index.clamp(min=0)]
            causes[:] = torch.where(new & (causes == 0) & (index != ABSENT), from_variable, causes)
        return True


def _spread(variable: Tensor, index: Tensor, causes: Tensor) -> None:
    """Every index of the variable that a slice which stays is linked to must stay."""
    if variable.numel() == index.numel() and bool((variable > 0).all()):
        return
    stays = (causes > 0) & (index != ABSENT)
    where, why = index[stays], causes[stays]
    new = variable[where] == 0
    variable[where[new]] = why[new]

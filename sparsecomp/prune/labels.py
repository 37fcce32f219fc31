"""Which slices go together: labels that spread from one axis over everything that the graph ties to it.

Each index of a source variable gets a label of its own. The law of `Relation` (a slice exists if and only if every
variable it is linked to keeps its index) carries labels from variables to slices and back. Labels that meet become one;
labels that reach a slice which must stay, or a factor of an axis that cannot lose single slices, are pinned.
"""

from collections import defaultdict, deque
from collections.abc import Collection, Mapping

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from sparsecomp.rules.call import Value, outputs_of, value_of
from sparsecomp.rules.propagate import Application, applications
from sparsecomp.rules.relation import ABSENT, Link

AxisKey = tuple[Value, int]
VariableKey = tuple[Node, str]


class Ties:
    """The links of a whole graph, and the axes that must stay whole whatever the weights are."""

    def __init__(self, module: GraphModule) -> None:
        self.module = module
        self.calls: dict[Node, Application] = applications(module)
        self.readers: dict[Value, list[Node]] = defaultdict(list)
        self.needed: set[AxisKey] = set()
        for node in module.graph.nodes:
            if node.op in ("placeholder", "output"):
                values = outputs_of(node) if node.op == "placeholder" else map(value_of, node.all_input_nodes)
                self._need([value for value in values if value is not None])
        for application in self.calls.values():
            self._tie(application)

    def _need(self, values: list[Value]) -> None:
        self.needed |= {(value, axis) for value in values for axis in range(len(value.shape))}

    def _tie(self, application: Application) -> None:
        call, relation = application.call, application.relation
        for value in {*call.inputs, *call.outputs}:
            self.readers[value].append(call.node)
        if application.rule is None:
            self._need([*call.inputs, *call.outputs])
            return
        outputs = {(link.value, link.axis) for link in relation.links if link.is_output}
        self.needed |= {(v, a) for v in call.outputs for a in range(len(v.shape)) if (v, a) not in outputs}
        for value in set(call.inputs):
            roles = call.inputs.count(value)
            for axis in range(len(value.shape)):
                if len(relation.of_input(value, axis)) < roles:
                    self.needed.add((value, axis))


class Labels:
    """Labels spread from one variable of one call.

    Attributes:
        axes: for each axis that labels reached, the label of every slice; -1 where none did.
    """

    def __init__(self, ties: Ties, source: VariableKey) -> None:
        self.ties = ties
        count = ties.calls[source[0]].relation.sizes[source[1]]
        self.parents = torch.arange(count)
        self.pinned = torch.zeros(count, dtype=torch.bool)
        self.axes: dict[AxisKey, Tensor] = {}
        self.variables: dict[VariableKey, Tensor] = {source: torch.arange(count)}
        self._spread(source[0])

    def units(self, parameters: Collection[str]) -> Mapping[int, Mapping[AxisKey, Tensor]]:
        """For each label that may go: the indices of its slices on each axis of a parameter of these names."""
        roots = self.parents
        pinned = torch.zeros_like(self.pinned).index_put_((roots[self.pinned],), torch.tensor(True))
        found: dict[int, dict[AxisKey, Tensor]] = {int(root): {} for root in roots.tolist() if not pinned[root]}
        for key, labels in self.axes.items():
            if key[0].node.op != "get_attr" or key[0].node.target not in parameters:
                continue
            known = torch.where(labels >= 0, roots[labels.clamp(min=0)], labels)
            order = known.argsort(stable=True)
            for root, indices in zip(*_runs(known[order], order), strict=True):
                if root in found:
                    found[root][key] = indices
        return found

    def _spread(self, first: Node) -> None:
        waiting = deque([first])
        while waiting:
            node = waiting.popleft()
            for value in self._settle(self.ties.calls[node]):
                waiting += [reader for reader in self.ties.readers[value] if reader != node and reader not in waiting]

    def _settle(self, application: Application) -> set[Value]:
        node, changed = application.call.node, set()
        while True:
            before = {name: self._variable(node, name).clone() for name in application.relation.sizes}
            now = {link.value for link in application.relation.links if self._to_axis(node, link)}
            for link in application.relation.links:
                self._to_variables(node, link)
            changed |= now
            if not now and all(torch.equal(t, self._variable(node, name)) for name, t in before.items()):
                return changed

    def _variable(self, node: Node, name: str) -> Tensor:
        if (node, name) not in self.variables:
            self.variables[node, name] = torch.full((self.ties.calls[node].relation.sizes[name],), -1)
        return self.variables[node, name]

    def _to_axis(self, node: Node, link: Link) -> bool:
        known = self.axes.get((link.value, link.axis))
        labels = known.clone() if known is not None else torch.full((link.size,), -1)
        for name, index in link.parts:
            arriving = torch.where(index == ABSENT, -1, self._variable(node, name)[index.clamp(min=0)])
            both = (labels >= 0) & (arriving >= 0)
            self._unite(labels[both], arriving[both])
            labels = torch.where(labels < 0, arriving, labels)
        if bool((labels < 0).all()) or (known is not None and torch.equal(known, labels)):
            return False
        self.axes[link.value, link.axis] = labels
        if (link.value, link.axis) in self.ties.needed:
            self.pinned[labels[labels >= 0]] = True
        return True

    def _to_variables(self, node: Node, link: Link) -> None:
        labels = self.axes.get((link.value, link.axis))
        if labels is None:
            return
        present = torch.stack([index != ABSENT for _, index in link.parts]).sum(dim=0)
        alone = (present == 1) & (labels >= 0)
        for name, index in link.parts:
            here = alone & (index != ABSENT)
            self._assign(self._variable(node, name), index[here], labels[here])
        factored = (present > 1) & (labels >= 0)
        if bool(factored.any()):
            self._to_factor(node, link, factored, self.parents[labels.clamp(min=0)])

    def _assign(self, variable: Tensor, index: Tensor, labels: Tensor) -> None:
        unknown = variable[index] < 0
        variable[index[unknown]] = labels[unknown]
        self._unite(variable[index], labels)

    def _to_factor(self, node: Node, link: Link, where: Tensor, labels: Tensor) -> None:
        """A slice of a factored axis goes with one index of one factor, if all that share the index have its label."""
        for name, index in link.parts:
            variable = self._variable(node, name)
            seen = torch.full_like(variable, -1)
            seen[index[where]] = labels[where]
            if bool((seen[index[where]] == labels[where]).all()):
                if bool((variable < 0).all()) and bool((seen != seen[0]).any()):
                    variable[:] = seen
                return
        self.pinned[labels[where]] = True

    def _unite(self, some: Tensor, others: Tensor) -> None:
        left, right = self.parents[some], self.parents[others]
        while bool((left != right).any()):
            first = int((left != right).nonzero()[0])
            low, high = sorted((int(left[first]), int(right[first])))
            self.parents[self.parents == high] = low
            left, right = self.parents[some], self.parents[others]


def _runs(values: Tensor, order: Tensor) -> tuple[list[int], tuple[Tensor, ...]]:
    """The distinct values of a sorted vector, and for each the entries of ``order`` at its places."""
    distinct, counts = torch.unique_consecutive(values, return_counts=True)
    return distinct.tolist(), torch.split(order, counts.tolist())

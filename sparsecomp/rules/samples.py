"""Whether a program computes every sample of a batch alone and alike, and which axes hold the samples.

The proof is about the relations of the calls. An axis that holds the samples has ``outer * samples * inner`` slices, in
that order, so that `inner` says it all; so has an index variable. If for every call of the graph the index maps move
from sample to sample alike, then the law of `Relation` says that a slice of a sample depends on slices of that sample
only, and that samples may be exchanged: the program computes the same for each.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from sparsecomp.rules.call import Value, outputs_of, value_of
from sparsecomp.rules.coupling import AxisKey
from sparsecomp.rules.propagate import Application
from sparsecomp.rules.relation import ABSENT, Link
from sparsecomp.rules.table import FactTable

Inner = dict[AxisKey, int]
"""For each axis that holds the samples: how many slices one sample has side by side."""


def batch_size(module: GraphModule) -> int | None:
    """How many samples a program seems to compute: the size that the first axes of its outputs have in common."""
    sizes = {value.size(0) if value is not None and value.shape else None for value in _results(module)}
    return sizes.pop() if len(sizes) == 1 else None


def _results(module: GraphModule) -> list[Value | None]:
    return [value_of(node) for node in module.graph.output_node().all_input_nodes]


def sample_axes(module: GraphModule, calls: Mapping[Node, Application], table: FactTable) -> Inner | None:
    """The axes that hold the samples of a batch; None where samples meet, or there is only one.

    Inputs have their samples on the first axis; one with another first axis is the same for all samples. The
    samples of all outputs are on the first axis, too.
    """
    samples = batch_size(module)
    if samples is None or samples < 2:
        return None
    inputs = [value for node in module.graph.find_nodes(op="placeholder") for value in outputs_of(node)]
    proof = _Proof(samples, table)
    proof.inner = {(value, 0): 1 for value in inputs if value.shape and value.size(0) == samples}
    alone = all(proof.holds(application) for application in calls.values())
    return proof.inner if alone and all(proof.inner.get((v, 0)) == 1 for v in _results(module) if v) else None


class _Proof:
    """Follows the samples from call to call."""

    def __init__(self, samples: int, table: FactTable) -> None:
        self.samples = samples
        self.table = table
        self.inner: Inner = {}

    def holds(self, application: Application) -> bool:
        """Whether a call treats samples alone and alike; enters the axes of its results that hold them."""
        call, relation = application.call, application.relation
        held = [(value, axis) for value in set(call.inputs) for axis in range(len(value.shape))]
        held = [key for key in held if key in self.inner]
        if not held:
            return True
        if any(len(relation.of_input(*key)) < call.inputs.count(key[0]) for key in held):
            return False
        variables = self._variables([link for key in held for link in relation.of_input(*key)], relation.sizes)
        if not variables or not relation.contracted().isdisjoint(variables):
            return False
        touched = [link for link in relation.links if not link.variables().isdisjoint(variables)]
        others = [link for link in touched if not link.is_output and (link.value, link.axis) not in self.inner]
        return all(self._is_even(link) for link in others) and self._enter(
            [link for link in touched if link.is_output], variables
        )

    def _variables(self, links: list[Link], sizes: Mapping[str, int]) -> dict[str, int]:
        """The variables that hold the samples, with their `inner`; none if any of these links is uneven."""
        found: dict[str, int] = {}
        for link in links:
            steps = {name: self._step(index, self.inner[link.value, link.axis]) for name, index in link.parts}
            holding = {name: step for name, step in steps.items() if step}
            whole = all(step > 0 and sizes[name] % (step * self.samples) == 0 for name, step in holding.items())
            same = all(found.setdefault(name, step) == step for name, step in holding.items())
            if None in steps.values() or not (holding and whole and same and self._in_place(link, holding)):
                return {}
        return found

    def _in_place(self, link: Link, inner: Mapping[str, int], own: int | None = None) -> bool:
        """Whether the slices of sample number i lead to indices of sample number i."""
        own = self.inner[link.value, link.axis] if own is None else own
        number = torch.arange(link.size) // own % self.samples
        return all(
            bool(((index == ABSENT) | (index // inner[name] % self.samples == number)).all())
            for name, index in link.parts
            if name in inner
        )

    def _step(self, index: Tensor, inner: int) -> int | None:
        """How far an index map moves from a sample to the next; None if it does not move evenly."""
        by_sample = index.reshape(-1, self.samples, inner)
        absent, steps = by_sample == ABSENT, by_sample.diff(dim=1)
        if bool((absent != absent[:, :1]).any()):
            return None
        moves = steps[~absent[:, 1:]]
        if moves.numel() == 0:
            return 0
        return int(moves[0]) if bool((moves == moves[0]).all()) else None

    def _is_even(self, link: Link) -> bool:
        """Whether all slices are equal, so that every sample meets the same."""
        known = self.table.axis(link.value, link.axis)
        return known is not None and bool((known.classes == known.classes[0]).all())

    def _enter(self, links: list[Link], variables: Mapping[str, int]) -> bool:
        """Record which axes of the results hold the samples; at most one each may."""
        for link in links:
            inner = self._inner_of(link, variables)
            if inner is None or any((link.value, axis) in self.inner for axis in range(len(link.value.shape))):
                return False
            self.inner[link.value, link.axis] = inner
        return bool(links)

    def _inner_of(self, link: Link, variables: Mapping[str, int]) -> int | None:
        """The `inner` of an axis of a result, from the variables that it is linked to; None if samples lie unevenly."""
        each, rest = divmod(link.size, self.samples)
        if rest:
            return None
        inner = {name: variables[name] for name in link.variables() & variables.keys()}
        for own in (size for size in range(1, each + 1) if each % size == 0):
            wanted = [(index, inner.get(name, 0)) for name, index in link.parts]
            steps = [(self._step(index, own), step, bool((index == ABSENT).all())) for index, step in wanted]
            if all(step == found or absent for found, step, absent in steps) and self._in_place(link, inner, own):
                return own
        return None

"""One operator call as a program, with random facts about its inputs that are true of them."""

import random
from dataclasses import dataclass
from operator import getitem
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree

from sparsecomp.facts import AxisFacts, TensorFacts
from sparsecomp.program import Program
from sparsecomp.rules.call import Value
from sparsecomp.rules.propagate import Application, applications, forward_call
from sparsecomp.rules.table import FactTable
from tests.rules.cases import Sample


@dataclass
class Experiment:
    """A program of one call, the data of its inputs, and the facts of them."""

    program: Program
    inputs: list[Tensor]
    table: FactTable
    calls: dict[fx.Node, Application]
    node: fx.Node

    def run(self, inputs: list[Tensor] | None = None) -> list[Tensor]:
        with torch.no_grad():
            results = self.program.module(*(self.inputs if inputs is None else inputs))
        return [each for each in pytree.tree_leaves(results) if isinstance(each, Tensor)]

    @property
    def application(self) -> Application:
        return self.calls[self.node]


def experiment(overload: Any, sample: Sample, rng: random.Random) -> Experiment:
    """The call with its activations as inputs of the graph, some slices of which are constant or equal."""
    root, graph, mode = nn.Module(), fx.Graph(), FakeTensorMode()
    inputs: list[Tensor] = []
    planted: dict[fx.Node, TensorFacts] = {}

    def enter(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        name = f"t{len(list(graph.nodes))}"
        if isinstance(leaf, nn.Parameter):
            root.register_parameter(name, leaf)
            node = graph.get_attr(name)
            node.meta["val"] = mode.from_tensor(leaf.detach())
            return node
        node = graph.placeholder(name)
        leaf, planted[node] = plant(leaf, rng)
        inputs.append(leaf)
        node.meta["val"] = mode.from_tensor(leaf)
        return node

    flat, spec = pytree.tree_flatten((sample.args, sample.kwargs))
    root_first = sorted(range(len(flat)), key=lambda i: not isinstance(flat[i], nn.Parameter))
    entered = {i: enter(flat[i]) for i in root_first}
    args, kwargs = pytree.tree_unflatten([entered[i] for i in range(len(flat))], spec)
    node = graph.call_function(overload, args, kwargs)
    fake = pytree.tree_map_only(fx.Node, lambda n: n.meta["val"], (args, kwargs))
    with mode:
        node.meta["val"] = overload(*fake[0], **fake[1])
    several = isinstance(node.meta["val"], (tuple, list))
    results = [graph.call_function(getitem, (node, i)) for i in range(len(node.meta["val"]))] if several else [node]
    for i, result in enumerate(results if several else []):
        result.meta["val"] = node.meta["val"][i]
    graph.output(tuple(results))
    program = Program(fx.GraphModule(root, graph), tuple(inputs), {})
    calls = applications(program.module)
    table = FactTable(program.module)
    for source, facts in planted.items():
        table.record(Value(source), facts)
    forward_call(calls[node], table)
    return Experiment(program, inputs, table, calls, node)


def plant(data: Tensor, rng: random.Random) -> tuple[Tensor, TensorFacts]:
    """Make some slices along one axis constant or equal, and say so."""
    data = data.clone()
    facts: list[AxisFacts | None] = [None] * data.dim()
    if data.dim() == 0 or rng.random() < 0.2 or data.dtype == torch.int64:
        return data, tuple(facts)
    axis = rng.randrange(data.dim())
    for i in range(data.shape[axis]):
        dice = rng.random()
        if dice < 0.25:
            data.select(axis, i).zero_()
        elif dice < 0.4:
            data.select(axis, i).fill_(rng.choice([1, 2]) * 0.75)
        elif dice < 0.55:
            data.select(axis, i).copy_(data.select(axis, rng.randrange(data.shape[axis])).clone())
    if rng.random() < 0.1:
        data.zero_()
    facts[axis] = AxisFacts.of_tensor(data, axis)
    return data, tuple(facts)

"""What nothing reads goes; what is read, and every input, stays."""

import torch
from torch import nn

from sparsecomp.passes import Canonicalize, EliminateDead
from tests.graphs import operators, program, rewrite, tensor


def add_unread(captured, depth=1):
    """A chain of calls that nobody reads."""
    (x, *_), output = captured.placeholders(), captured.graph.output_node()
    with captured.graph.inserting_before(output):
        for _ in range(depth):
            x = captured.graph.call_function(torch.ops.aten.exp.default, (x,))
    captured.finish()


def test_a_chain_that_nobody_reads_is_removed():
    captured = program(lambda net, x: x.relu(), tensor(2, 4))
    add_unread(captured, depth=3)
    assert rewrite(captured, EliminateDead()) == [True]
    assert operators(captured) == ["relu.default"]


def test_a_graph_without_dead_nodes_is_no_change():
    assert rewrite(program(lambda net, x: x.relu(), tensor(2, 4)), EliminateDead()) == [False]


def test_weights_that_nobody_reads_are_dropped():
    linear = nn.Linear(4, 4)
    captured = program(lambda net, x: (net.head(x), x.relu())[1], tensor(2, 4), head=linear)
    rewrite(captured, EliminateDead())
    assert captured.weights() == {}
    assert list(captured.module.parameters()) == []


def test_a_weight_that_a_rewrite_replaced_is_dropped():
    weight = nn.Parameter(torch.empty(4, 3))
    captured = program(lambda net, x: x @ net.weight, tensor(2, 4), weight=weight)
    rewrite(captured, Canonicalize(), EliminateDead())
    (kept,) = captured.weights().values()
    assert kept.shape == (3, 4)
    assert [tensor.shape for tensor in captured.module.state_dict().values()] == [(3, 4)]


def test_inputs_stay_used_or_not():
    captured = program(lambda net, x, unused: x.relu(), tensor(2, 4), tensor(3))
    add_unread(captured)
    rewrite(captured, EliminateDead())
    assert len(captured.placeholders()) == 2


def test_the_model_keeps_its_weights():
    linear = nn.Linear(4, 4)
    captured = program(lambda net, x: (net.head(x), x.relu())[1], tensor(2, 4), head=linear)
    rewrite(captured, EliminateDead())
    assert linear.weight.shape == (4, 4)

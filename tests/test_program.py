"""The program: callable, copyable, and consistent after each rewrite."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sparsecomp.capture import capture
from sparsecomp.errors import SparsecompError
from sparsecomp.program import arguments, layer_name, relative_error, remove_unused_weights, source_line
from tests.graphs import assert_close, operators, program, tensor

aten = torch.ops.aten
NAN, INF = math.nan, math.inf


def vector(*values, dtype=torch.float32):
    return torch.tensor(values, dtype=dtype)


@pytest.mark.parametrize(
    ("outputs", "reference", "error"),
    [
        (vector(3.0, 4.0), vector(3.0, 4.0), 0.0),
        (vector(3.0, 5.0), vector(3.0, 4.0), 0.2),
        (vector(0.5), vector(0.0), 0.5),
        ((vector(1.0), vector(2.0)), (vector(1.0), vector(1.0)), 1.0),
        (vector(), vector(), 0.0),
        (vector(1.0, NAN), vector(1.0, NAN), 0.0),
        (vector(1.0, INF), vector(1.0, INF), 0.0),
        (vector(1.0, NAN), vector(1.0, 2.0), INF),
        (vector(1.0, INF), vector(1.0, 2.0), INF),
        (vector(1.0, 2.0), vector(1.0, NAN), INF),
        (vector(1.0, 5.0), vector(1.0, INF), INF),
        (vector(-INF), vector(INF), INF),
        (vector(NAN), vector(INF), INF),
        ((vector(1.0), vector(NAN)), (vector(1.0), vector(1.0)), INF),
        ((vector(NAN), vector(1.0)), (vector(1.0), vector(1.0)), INF),
        (vector(1.0, 2.0), vector(1.0), INF),
        (vector(1.0, dtype=torch.float64), vector(1.0), INF),
        (vector(1, 2), vector(1, 2), 0.0),
        (vector(1, 3, dtype=torch.int64), vector(1, 2, dtype=torch.int64), INF),
        (vector(True, dtype=torch.bool), vector(False, dtype=torch.bool), INF),
        (5, 5, 0.0),
        (5, 6, INF),
        (None, None, 0.0),
        (vector(1.0), None, INF),
    ],
)
def test_relative_error(outputs, reference, error):
    assert relative_error(outputs, reference) == pytest.approx(error)


def test_relative_error_wants_as_many_outputs():
    with pytest.raises(SparsecompError, match="compared 2 outputs with 1"):
        relative_error((vector(1.0), vector(1.0)), (vector(1.0),))


def test_a_copy_has_a_graph_of_its_own_and_the_structure_of_the_outputs():
    captured = program(lambda net, x: {"y": x.relu(), "n": 3}, tensor(2, 3))
    copy = captured.copy()
    (node,) = copy.calls()
    node.target = aten.neg.default
    copy.finish()
    x = tensor(2, 3)
    assert_close(captured(x), {"y": x.relu(), "n": 3})
    assert_close(copy(x), {"y": -x, "n": 3})


def test_calling_records_no_gradient():
    captured = program(lambda net, x: net.head(x), tensor(2, 3), head=nn.Linear(3, 3))
    assert not captured(tensor(2, 3).requires_grad_()).requires_grad


def test_added_weights_get_names_of_their_own():
    captured = program(lambda net, x: x + 1, tensor(2, 3))
    (first,) = captured.calls()
    nodes = [captured.add_weight("head.weight", torch.ones(3), before=first) for _ in range(3)]
    assert [node.target for node in nodes] == ["head_weight", "head_weight_1", "head_weight_2"]
    assert nodes[0].meta["val"].shape == (3,)


def test_unused_weights_are_removed_and_shared_ones_stay():
    head = nn.Linear(3, 3)
    captured = program(lambda net, x: net.head(x), tensor(2, 3), head=head)
    (node,) = captured.calls()
    node.args = node.args[:2]
    captured.graph.eliminate_dead_code()
    remove_unused_weights(captured)
    assert list(captured.weights()) == ["head.weight"]
    assert [name for name, _ in captured.module.named_parameters()] == ["head.weight"]


def test_finish_computes_the_shapes_of_what_changed():
    captured = program(lambda net, x: x.sum(1), tensor(2, 3))
    (node,) = captured.calls()
    node.args = (node.args[0], [0])
    captured.finish()
    assert node.meta["val"].shape == (3,)


def test_finish_keeps_symbolic_sizes():
    captured = program(lambda net, x: x.relu().flatten(0, 1), tensor(2, 3), dynamic=({0: torch.export.Dim("b")},))
    (first,), (*_, last) = captured.calls(aten.relu.default), captured.calls()
    first.target = aten.neg.default
    captured.finish()
    assert isinstance(first.meta["val"].shape[0], torch.SymInt)
    assert str(last.meta["val"].shape[0]) == f"3*{first.meta['val'].shape[0]}"


def test_finish_refuses_an_invalid_graph():
    captured = program(lambda net, x: x.relu().neg(), tensor(2, 3))
    first, second = captured.calls()
    second.append(first)
    with pytest.raises(RuntimeError):
        captured.finish()


def test_calls_can_be_asked_for_by_operator():
    captured = program(lambda net, x: (x.relu() + 1).relu() * 2, tensor(2, 3))
    assert len(list(captured.calls(aten.relu.default))) == 2
    assert len(list(captured.calls(aten.relu.default, aten.mul.Tensor))) == 3
    assert len(list(captured.calls())) == len(operators(captured)) == 4


def test_arguments_have_names_and_defaults():
    captured = program(
        lambda net, x: F.conv2d(x, net.weight, stride=2),
        tensor(1, 3, 5, 5),
        weight=nn.Parameter(torch.empty(4, 3, 1, 1)),
    )
    (node,) = captured.calls()
    given = arguments(node)
    assert (given["input"], given["bias"], given["groups"]) == (captured.placeholders()[0], None, 1)
    assert list(given["stride"]) == [2, 2]
    assert list(given["padding"]) in ([0], [0, 0])


class User(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Linear(3, 3))

    def forward(self, x):
        return self.block(x).tanh()


def test_source_line_is_the_users():
    captured = capture(User().eval(), (tensor(2, 3),))
    linear, tanh = captured.calls()
    for node in (linear, tanh):
        assert "return self.block(x).tanh()" in source_line(node)
        assert f"{Path(__file__).name}:" in source_line(node)


def test_source_line_of_a_node_without_one_is_empty():
    captured = program(lambda net, x: x + 1, tensor(2, 3))
    (node,) = captured.calls()
    assert source_line(captured.add_weight("w", torch.ones(1), before=node)) == ""


def test_layer_names_are_the_users():
    captured = capture(User().eval(), (tensor(2, 3),))
    linear, tanh = captured.calls()
    assert layer_name(linear) == "block.0"
    assert layer_name(tanh) == tanh.name

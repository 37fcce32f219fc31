"""What follows a linear or convolution becomes part of it."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sparsecomp.ops import ACTIVATIONS
from sparsecomp.passes import FuseEpilogues
from sparsecomp.program import arguments
from tests.graphs import operators, program, rewrite, tensor

LINEAR, CONV = torch.ops.sparsecomp.linear.default, torch.ops.sparsecomp.conv.default
FUSED = {
    "linear": (nn.Linear(6, 4), (3, 6)),
    "conv1d": (nn.Conv1d(3, 4, 3), (2, 3, 9)),
    "conv2d": (nn.Conv2d(3, 4, 3), (2, 3, 9, 9)),
}
FOLLOWING = {
    "": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "clamp": lambda x: x.clamp(-0.5, 0.25),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
}


def fuse(function, shape, **parts):
    """The program after fusing, and the arguments of its fused calls."""
    captured = program(function, *([tensor(*shape)] if isinstance(shape, tuple) else shape), **parts)
    assert rewrite(captured, FuseEpilogues()) == [True]
    return captured, [arguments(node) for node in captured.calls(LINEAR, CONV)]


def test_every_activation_is_tried():
    assert FOLLOWING.keys() == ACTIVATIONS.keys()


@pytest.mark.parametrize("head", FUSED)
@pytest.mark.parametrize("name", FOLLOWING)
def test_an_activation_is_absorbed(head, name):
    module, shape = FUSED[head]
    captured, (call,) = fuse(lambda net, x: FOLLOWING[name](net.head(x)), shape, head=module)
    assert len(operators(captured)) == 1
    assert call["activation"] == name


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: F.hardtanh(x), ("clamp", -1.0, 1.0)),
        (lambda x: F.hardtanh(x, -2.0, 0.5), ("clamp", -2.0, 0.5)),
        (lambda x: F.hardtanh(x, max_val=3.0), ("clamp", -1.0, 3.0)),
        (lambda x: F.hardtanh(x, 0, 6), ("relu6", 0.0, 0.0)),
        (lambda x: torch.clamp(x, max=1, min=0), ("clamp", 0.0, 1.0)),
    ],
)
def test_bounds_are_kept(function, expected):
    _, (call,) = fuse(lambda net, x: function(net.head(x)), (3, 6), head=nn.Linear(6, 4))
    assert (call["activation"], call["low"], call["high"]) == expected


@pytest.mark.parametrize(
    "function", [lambda x: x.clamp(min=0.1), lambda x: x.clamp(max=0.1), F.elu, F.leaky_relu, torch.abs]
)
def test_what_is_no_activation_of_ours_stays(function):
    captured, (call,) = fuse(lambda net, x: function(net.head(x)), (3, 6), head=nn.Linear(6, 4))
    assert call["activation"] == ""
    assert len(operators(captured)) == 2


GEOMETRY = {
    "stride": nn.Conv2d(4, 4, 3, stride=(1, 2)),
    "padding": nn.Conv2d(4, 4, 3, padding=(2, 1)),
    "dilation": nn.Conv2d(4, 4, 3, dilation=2),
    "groups": nn.Conv2d(4, 8, 3, groups=4, bias=False),
    "everything": nn.Conv2d(4, 8, 3, 2, 1, 2, groups=2),
}


@pytest.mark.parametrize("name", GEOMETRY)
def test_the_geometry_is_kept(name):
    module = GEOMETRY[name]
    _, (call,) = fuse(lambda net, x: net.head(x).relu(), (2, 4, 9, 9), head=module)
    assert (tuple(call["stride"]), tuple(call["padding"])) == (module.stride, module.padding)
    assert (tuple(call["dilation"]), call["groups"]) == (module.dilation, module.groups)


@pytest.mark.parametrize("name", ["same", "valid"])
def test_padding_by_name_computes_the_same(name):
    captured = program(lambda net, x: net.head(x).relu(), tensor(2, 4, 9, 9), head=nn.Conv2d(4, 4, 3, padding=name))
    rewrite(captured, FuseEpilogues())


RESIDUAL = {
    "before": (lambda net, x, r: (net.head(x) + r).relu(), "relu", False),
    "before, other order": (lambda net, x, r: (r + net.head(x)).relu(), "relu", False),
    "after": (lambda net, x, r: net.head(x).relu() + r, "relu", True),
    "alone": (lambda net, x, r: net.head(x) + r, "", False),
}


@pytest.mark.parametrize("name", RESIDUAL)
def test_a_residual_is_absorbed(name):
    function, activation, last = RESIDUAL[name]
    captured, (call,) = fuse(function, [tensor(3, 6), tensor(3, 4, seed=2)], head=nn.Linear(6, 4))
    assert len(operators(captured)) == 1
    assert (call["activation"], call["residual_last"]) == (activation, last)
    assert call["residual"] is captured.placeholders()[1]


NOT_ABSORBED = {
    "scaled": lambda net, x, r: torch.add(net.head(x), r, alpha=2),
    "itself": lambda net, x, r: (y := net.head(x), y + y)[1] + r[:1],
    "broadcast": lambda net, x, r: net.head(x) + r[:1],
    "number": lambda net, x, r: net.head(x) + 1.0 + r[:1],
    "other type": lambda net, x, r: net.head(x) + r.double(),
    "makes it larger": lambda net, x, r: net.head(x)[:, None] + r,
}


@pytest.mark.parametrize("name", NOT_ABSORBED)
def test_another_addition_stays(name):
    captured, (call,) = fuse(NOT_ABSORBED[name], [tensor(3, 6), tensor(3, 4, seed=2)], head=nn.Linear(6, 4))
    assert call["residual"] is None
    assert "add.Tensor" in operators(captured)


def test_two_additions_absorb_the_first():
    captured, (call,) = fuse(
        lambda net, x, r: (net.head(x) + r + r.exp()).relu(), [tensor(3, 6), tensor(3, 4, seed=2)], head=nn.Linear(6, 4)
    )
    assert call["residual"] is captured.placeholders()[1]
    assert operators(captured)[-2:] == ["add.Tensor", "relu.default"]


def test_activation_residual_activation_leaves_the_second_activation():
    captured, (call,) = fuse(
        lambda net, x, r: (net.head(x).relu() + r).tanh(), [tensor(3, 6), tensor(3, 4, seed=2)], head=nn.Linear(6, 4)
    )
    assert (call["activation"], call["residual_last"]) == ("relu", True)
    assert operators(captured) == ["sparsecomp.linear.default", "tanh.default"]


def test_the_sum_of_two_fused_operators():
    captured, calls = fuse(
        lambda net, x: (net.left(x).relu() + net.right(x)).relu(), (3, 6), left=nn.Linear(6, 4), right=nn.Linear(6, 4)
    )
    assert operators(captured).count("sparsecomp.linear.default") == 2
    assert sum(call["residual"] is not None for call in calls) == 1


@pytest.mark.parametrize(
    "function",
    [
        lambda net, x: (y := net.head(x), y.relu() + y.tanh())[1],
        lambda net, x: (y := net.head(x), (y, y.relu()))[1],
    ],
)
def test_a_result_that_others_read_absorbs_nothing(function):
    _, (call,) = fuse(function, (3, 6), head=nn.Linear(6, 4))
    assert (call["activation"], call["residual"]) == ("", None)


def test_a_residual_of_its_own_input():
    captured, (call,) = fuse(lambda net, x: (net.head(x) + x).relu(), (3, 6), head=nn.Linear(6, 6))
    assert call["residual"] is call["x"] is captured.placeholders()[0]


def test_a_shared_weight_stays_shared():
    _, calls = fuse(lambda net, x: net.head(net.head(x).relu()), (3, 6), head=nn.Linear(6, 6))
    assert calls[0]["weight"] is calls[1]["weight"]


STAYS = {
    "a weight from the inputs": (lambda net, x: F.linear(x, x), [tensor(3, 6)]),
    "double precision": (lambda net, x: F.linear(x, net.wide), [tensor(3, 6).double()]),
    "no linear": (lambda net, x: x.relu(), [tensor(3, 6)]),
    "transposed convolution": (lambda net, x: net.up(x).relu(), [tensor(2, 3, 4, 4)]),
}


@pytest.mark.parametrize("name", STAYS)
def test_stays_as_it_is(name):
    function, inputs = STAYS[name]
    parts = {"wide": nn.Parameter(torch.empty(4, 6, dtype=torch.float64)), "up": nn.ConvTranspose2d(3, 4, 2)}
    assert rewrite(program(function, *inputs, **parts), FuseEpilogues()) == [False]


def test_a_symbolic_batch_stays_symbolic():
    batch = torch.export.Dim("batch")
    captured = program(
        lambda net, x, r: (net.head(x) + r).relu(),
        tensor(3, 6),
        tensor(3, 4),
        dynamic=({0: batch}, {0: batch}),
        head=nn.Linear(6, 4),
    )
    rewrite(captured, FuseEpilogues())
    assert operators(captured) == ["sparsecomp.linear.default"]
    assert captured(tensor(7, 6), tensor(7, 4)).shape == (7, 4)

"""One spelling for each meaning."""

import operator

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sparsecomp.passes import Canonicalize
from tests.graphs import operators, program, rewrite, tensor

aten = torch.ops.aten
WEIGHT, BIAS = nn.Parameter(torch.empty(4, 3)), nn.Parameter(torch.empty(3))


def addmm(net, x):
    return torch.addmm(net.bias, x, net.weight)


CASES = {
    "dropout": (lambda net, x: F.dropout(x.relu(), 0.5, training=False), ["relu.default"]),
    "feature dropout": (lambda net, x: torch.feature_dropout(x.relu(), 0.5, False), ["relu.default"]),
    "detach": (lambda net, x: x.relu().detach(), ["relu.default"]),
    "clone": (lambda net, x: x.relu().clone(), ["relu.default"]),
    "contiguous": (lambda net, x: x.t().contiguous() + 1, ["permute.default", "add.Tensor"]),
    "cast to the same type": (lambda net, x: x.relu().float(), ["relu.default"]),
    "view to the same shape": (lambda net, x: x.relu().view(2, 4), ["relu.default"]),
    "expand to the same shape": (lambda net, x: x.relu().expand(2, 4), ["relu.default"]),
    "whole slice": (lambda net, x: x.relu()[:, :], ["relu.default"]),
    "view": (lambda net, x: x.view(8), ["reshape.default"]),
    "t": (lambda net, x: x.t() + 1, ["permute.default", "add.Tensor"]),
    "reshape": (lambda net, x: x.reshape(8), ["reshape.default"]),
    "mm": (lambda net, x: torch.mm(x, net.weight), ["linear.default"]),
    "matmul": (lambda net, x: x @ net.weight, ["linear.default"]),
    "matmul of three axes": (lambda net, x: x[None] @ net.weight, ["unsqueeze.default", "linear.default"]),
    "addmm": (addmm, ["linear.default"]),
    "padding by nothing": (lambda net, x: F.pad(x.relu(), (0, 0, 0, 0)), ["relu.default"]),
    "concatenation of one": (lambda net, x: torch.cat((x.relu(),), 1), ["relu.default"]),
}


@pytest.mark.parametrize("name", CASES)
def test_many_spellings_become_one(name):
    function, expected = CASES[name]
    captured = program(function, tensor(2, 4), weight=WEIGHT, bias=BIAS)
    rewrite(captured, Canonicalize())
    assert operators(captured) == expected


@pytest.mark.parametrize(
    "function",
    [
        lambda net, x: x.view(8),
        lambda net, x: x.relu().clone(),
        lambda net, x: torch.mm(x, net.weight),
    ],
)
def test_says_that_it_changed_something(function):
    assert rewrite(program(function, tensor(2, 4), weight=WEIGHT), Canonicalize()) == [True]


def test_says_that_it_changed_nothing():
    assert rewrite(program(lambda net, x: x.relu(), tensor(2, 4)), Canonicalize()) == [False]


def test_a_cast_to_another_type_stays():
    captured = program(lambda net, x: x.double() + 1, tensor(2, 4))
    rewrite(captured, Canonicalize())
    assert captured.example_outputs()[0].dtype == torch.float64


@pytest.mark.parametrize("pad", [(1, -1), (0, 1)])
def test_padding_that_moves_or_adds_something_stays(pad):
    assert rewrite(program(lambda net, x: F.pad(x, pad), tensor(2, 4)), Canonicalize()) == [False]


def test_a_concatenation_of_two_stays():
    assert rewrite(program(lambda net, x: torch.cat((x, x), 1), tensor(2, 4)), Canonicalize()) == [False]


def test_a_weight_that_is_transposed_first_is_read_as_it_is():
    p = program(lambda net, x: x @ net.weight.t(), tensor(2, 4), weight=nn.Parameter(torch.empty(3, 4)))
    rewrite(p, Canonicalize())
    (linear,) = p.calls(aten.linear.default)
    assert p.weight(linear.args[1]).shape == (3, 4)


def test_a_slice_of_a_part_stays():
    captured = program(lambda net, x: x[:, 1:3] * 2, tensor(2, 4))
    rewrite(captured, Canonicalize())
    assert "slice.Tensor" in operators(captured)


def test_a_product_of_two_activations_stays():
    captured = program(lambda net, x, y: x @ y, tensor(2, 4), tensor(4, 3))
    rewrite(captured, Canonicalize())
    assert operators(captured) == ["matmul.default"]


def test_addmm_with_factors_stays():
    captured = program(
        lambda net, x: torch.addmm(net.bias, x, net.weight, beta=2, alpha=3), tensor(2, 4), weight=WEIGHT, bias=BIAS
    )
    rewrite(captured, Canonicalize())
    assert operators(captured) == ["addmm.default"]


def test_addmm_whose_bias_is_a_matrix_stays():
    captured = program(
        lambda net, x: torch.addmm(net.bias, x, net.weight),
        tensor(2, 4),
        weight=WEIGHT,
        bias=nn.Parameter(torch.empty(2, 3)),
    )
    rewrite(captured, Canonicalize())
    assert operators(captured) == ["addmm.default"]


def test_native_batch_norm_becomes_batch_norm():
    def forward(net, x):
        return torch._native_batch_norm_legit_no_training(x, net.gain, net.bias, net.mean, net.var, 0.1, 1e-5)[0]

    vectors = {name: nn.Parameter(torch.empty(4)) for name in ("gain", "bias", "mean")}
    captured = program(forward, tensor(2, 4, 5), **vectors, var=nn.Parameter(torch.empty(4)))
    captured.module.var.data.abs_().add_(0.1)
    rewrite(captured, Canonicalize())
    assert operators(captured) == ["batch_norm.default"]


def test_native_batch_norm_whose_statistics_are_read_stays():
    def forward(net, x):
        return torch._native_batch_norm_legit_no_training(x, None, None, net.mean, net.var, 0.1, 1e-5)

    captured = program(forward, tensor(2, 4, 5), mean=torch.ones(4), var=torch.ones(4))
    Canonicalize().apply(captured)
    assert operator.getitem in [node.target for node in captured.calls()]


@pytest.mark.parametrize(("conv", "shape"), [(nn.Conv1d(3, 4, 3), (3, 8)), (nn.Conv2d(3, 4, 3, groups=1), (3, 8, 8))])
def test_a_convolution_without_batch_gets_one(conv, shape):
    captured = program(lambda net, x: net.conv(x), tensor(*shape), conv=conv)
    rewrite(captured, Canonicalize())
    first, middle, last = operators(captured)
    assert (first, last) == ("unsqueeze.default", "squeeze.dim")
    assert middle.startswith("conv")


def test_tied_weights_are_read_through_one_node():
    linear, embedding = nn.Linear(4, 6, bias=False), nn.Embedding(6, 4)
    linear.weight = embedding.weight
    captured = program(
        lambda net, i: net.linear(net.embedding(i)), torch.tensor([[1, 5]]), linear=linear, embedding=embedding
    )
    rewrite(captured, Canonicalize())
    assert len(captured.weights()) == 1


def test_equal_weights_that_are_not_tied_stay_apart():
    first, second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    captured = program(lambda net, x: net.second(net.first(x)), tensor(2, 4), first=first, second=second)
    second.weight.data.copy_(first.weight)
    rewrite(captured, Canonicalize())
    assert len(captured.weights()) == 2


def test_a_dynamic_batch_stays_dynamic():
    captured = program(
        lambda net, x: F.dropout(x, training=False).view(x.shape[0], -1).contiguous(),
        tensor(2, 4, 3),
        dynamic=({0: torch.export.Dim("batch")},),
    )
    rewrite(captured, Canonicalize())
    (reshape,) = captured.calls(aten.reshape.default)
    assert not isinstance(reshape.meta["val"].shape[0], int)
    assert captured(tensor(7, 4, 3)).shape == (7, 12)

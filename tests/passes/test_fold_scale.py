"""A factor for each channel becomes part of the weight before it."""

import pytest
import torch
from torch import nn

from sparsecomp.passes import FoldScale
from tests.graphs import operators, program, rewrite, tensor

LINEAR, CONV = (nn.Linear(6, 4), (3, 5, 6)), (nn.Conv2d(3, 4, 1), (2, 3, 4, 4))


def vector(*shape):
    return nn.Parameter(torch.empty(shape))


FOLDABLE = {
    "number": (lambda net, x: net.head(x) * 0.125, LINEAR, vector(1)),
    "number, torch.mul": (lambda net, x: torch.mul(net.head(x), 3), LINEAR, vector(1)),
    "division": (lambda net, x: net.head(x) / 8, LINEAR, vector(1)),
    "features": (lambda net, x: net.head(x) * net.scale, LINEAR, vector(4)),
    "factor first": (lambda net, x: net.scale * net.head(x), LINEAR, vector(4)),
    "features, more axes": (lambda net, x: net.head(x) * net.scale, LINEAR, vector(1, 1, 4)),
    "one value": (lambda net, x: net.head(x) * net.scale, LINEAR, vector(1)),
    "no axes": (lambda net, x: net.head(x) * net.scale, LINEAR, vector()),
    "channels": (lambda net, x: net.head(x) * net.scale, CONV, vector(4, 1, 1)),
    "channels, division": (lambda net, x: net.head(x) / net.scale, CONV, vector(1, 4, 1, 1)),
    "channels without batch": (
        lambda net, x: net.head(x) * net.scale,
        (nn.Conv2d(3, 4, 1), (3, 4, 4)),
        vector(4, 1, 1),
    ),
    "without bias": (lambda net, x: net.head(x) * net.scale, (nn.Linear(6, 4, bias=False), (3, 6)), vector(4)),
    "unbatched linear": (lambda net, x: net.head(x) * net.scale, (nn.Linear(6, 4), (6,)), vector(4)),
}


@pytest.mark.parametrize("name", FOLDABLE)
def test_the_factor_disappears(name):
    function, (head, shape), scale = FOLDABLE[name]
    captured = program(function, tensor(*shape), head=head, scale=scale)
    assert rewrite(captured, FoldScale()) == [True]
    (left,) = operators(captured)
    assert left.startswith(("conv", "linear"))


NOT_FOLDABLE = {
    "tokens": (lambda net, x: net.head(x) * net.scale, LINEAR, vector(5, 1)),
    "columns of an image": (lambda net, x: net.head(x) * net.scale, CONV, vector(4)),
    "rows, no batch": (lambda net, x: net.head(x) * net.scale, (nn.Conv2d(3, 4, 1), (3, 4, 4)), vector(4, 1)),
    "more axes than the product": (lambda net, x: net.head(x) * net.scale, (nn.Linear(6, 4), (3, 6)), vector(2, 1, 4)),
    "from the input": (lambda net, x: net.head(x) * x.sum(), LINEAR, vector(1)),
    "numerator": (lambda net, x: net.scale / net.head(x), LINEAR, vector(4)),
    "read twice": (lambda net, x: (y := net.head(x), y * 2 + y)[1], LINEAR, vector(1)),
    "square": (lambda net, x: (y := net.head(x), y * y)[1], LINEAR, vector(1)),
    "rounded": (lambda net, x: torch.div(net.head(x), 2, rounding_mode="floor"), LINEAR, vector(1)),
}


@pytest.mark.parametrize("name", NOT_FOLDABLE)
def test_the_factor_stays_where_folding_would_be_wrong(name):
    function, (head, shape), scale = NOT_FOLDABLE[name]
    captured = program(function, tensor(*shape), head=head, scale=scale)
    assert rewrite(captured, FoldScale()) == [False]


def test_a_vector_that_makes_the_result_larger_computes_the_same():
    captured = program(
        lambda net, x: net.head(x) * net.scale, tensor(3, 6), head=nn.Linear(6, 1), scale=nn.Parameter(torch.empty(4))
    )
    rewrite(captured, FoldScale())


def test_a_double_factor_that_makes_the_result_double_stays():
    captured = program(
        lambda net, x: net.head(x) * net.scale,
        tensor(3, 6),
        head=nn.Linear(6, 4),
        scale=nn.Parameter(torch.empty(4, dtype=torch.float64)),
    )
    assert rewrite(captured, FoldScale()) == [False]


def test_factors_in_a_row_are_all_folded():
    captured = program(lambda net, x: net.head(x) * 2 / 3 * net.scale, tensor(3, 6), head=LINEAR[0], scale=vector(4))
    rewrite(captured, FoldScale())
    assert operators(captured) == ["linear.default"]


def test_a_shared_weight_is_scaled_for_one_reader_alone():
    captured = program(lambda net, x: net.head(x) * 2 + net.head(x + 1), tensor(3, 6), head=LINEAR[0])
    assert rewrite(captured, FoldScale()) == [True]
    first, second = captured.calls(torch.ops.aten.linear.default)
    assert first.args[1] is not second.args[1]

"""A batch normalisation after a linear or convolution disappears into it."""

import pytest
import torch
from torch import nn

from sparsecomp.passes import Canonicalize, FoldBatchNorm
from tests.graphs import operators, program, rewrite, tensor


def chain(net, x):
    return net.norm(net.head(x))


FOLDABLE = {
    "conv2d": (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), (2, 3, 9, 9)),
    "conv2d without bias": (nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), (2, 3, 9, 9)),
    "grouped": (nn.Conv2d(4, 8, 3, groups=2), nn.BatchNorm2d(8), (2, 4, 9, 9)),
    "depthwise": (nn.Conv2d(4, 4, 3, groups=4), nn.BatchNorm2d(4), (2, 4, 9, 9)),
    "strided": (nn.Conv2d(3, 8, 3, 2, 1, 2, bias=False), nn.BatchNorm2d(8), (2, 3, 9, 9)),
    "without gain": (nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8, affine=False), (2, 3, 9, 9)),
    "other epsilon": (nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8, eps=0.5), (2, 3, 9, 9)),
    "conv1d": (nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8), (2, 3, 9)),
    "conv3d": (nn.Conv3d(3, 4, 2), nn.BatchNorm3d(4), (2, 3, 4, 4, 4)),
    "linear": (nn.Linear(6, 8), nn.BatchNorm1d(8), (3, 6)),
}


@pytest.mark.parametrize("name", FOLDABLE)
def test_the_normalisation_disappears(name):
    head, norm, shape = FOLDABLE[name]
    captured = program(chain, tensor(*shape), head=head, norm=norm)
    assert rewrite(captured, Canonicalize(), FoldBatchNorm())[1]
    (left,) = operators(captured)
    assert left.startswith(("conv", "linear"))


NOT_FOLDABLE = {
    "read twice": (
        lambda net, x: (y := net.head(x), net.norm(y) + y)[1],
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        (2, 3, 9, 9),
    ),
    "read as output": (
        lambda net, x: (y := net.head(x), (net.norm(y), y))[1],
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        (2, 3, 9, 9),
    ),
    "linear of three axes": (chain, nn.Linear(6, 8), nn.BatchNorm1d(5), (3, 5, 6)),
    "as many tokens as features": (chain, nn.Linear(6, 5), nn.BatchNorm1d(5), (3, 5, 6)),
    "convolution without batch": (chain, nn.Conv1d(3, 8, 2), nn.BatchNorm1d(8), (3, 9)),
    "something between": (
        lambda net, x: net.norm(net.head(x).relu()),
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        (2, 3, 9, 9),
    ),
    "transposed": (chain, nn.ConvTranspose2d(3, 8, 3), nn.BatchNorm2d(8), (2, 3, 9, 9)),
}


@pytest.mark.parametrize("name", NOT_FOLDABLE)
def test_the_normalisation_stays_where_folding_would_be_wrong(name):
    function, head, norm, shape = NOT_FOLDABLE[name]
    captured = program(function, tensor(*shape), head=head, norm=norm)
    assert not rewrite(captured, Canonicalize(), FoldBatchNorm())[1]


def test_a_weight_from_the_inputs_is_not_folded():
    def forward(net, x, weight):
        return net.norm(torch.nn.functional.conv2d(x, weight))

    captured = program(forward, tensor(2, 3, 5, 5), tensor(4, 3, 1, 1), norm=nn.BatchNorm2d(4))
    assert not rewrite(captured, Canonicalize(), FoldBatchNorm())[1]


def test_a_shared_weight_is_folded_for_its_own_reader_alone():
    def forward(net, x):
        y = net.head(x)
        return net.norm(y) + net.head(x + 1)

    captured = program(forward, tensor(2, 3, 5, 5), head=nn.Conv2d(3, 4, 1), norm=nn.BatchNorm2d(4))
    assert rewrite(captured, Canonicalize(), FoldBatchNorm())[1]
    first, second = captured.calls(torch.ops.aten.conv2d.default)
    assert first.args[1] is not second.args[1]


def test_each_of_two_normalisations_in_a_row_is_folded():
    captured = program(
        lambda net, x: net.second(net.norm(net.head(x))),
        tensor(2, 3, 5, 5),
        head=nn.Conv2d(3, 4, 1),
        norm=nn.BatchNorm2d(4),
        second=nn.BatchNorm2d(4),
    )
    rewrite(captured, Canonicalize(), FoldBatchNorm())
    assert operators(captured) == ["conv2d.default"]


def test_a_symbolic_batch_stays_symbolic():
    captured = program(
        chain,
        tensor(2, 3, 5, 5),
        dynamic=({0: torch.export.Dim("b")},),
        head=nn.Conv2d(3, 4, 1),
        norm=nn.BatchNorm2d(4),
    )
    rewrite(captured, Canonicalize(), FoldBatchNorm())
    assert captured(tensor(5, 3, 5, 5)).shape == (5, 4, 5, 5)


def test_the_model_keeps_its_own_weights():
    head = nn.Conv2d(3, 4, 1)
    captured = program(chain, tensor(2, 3, 5, 5), head=head, norm=nn.BatchNorm2d(4))
    before = head.weight.detach().clone()
    rewrite(captured, Canonicalize(), FoldBatchNorm())
    assert torch.equal(head.weight, before)

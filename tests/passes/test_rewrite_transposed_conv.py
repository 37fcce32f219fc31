"""Upsampling by a transposed convolution without overlap becomes a 1x1 convolution."""

import pytest
import torch
from torch import nn

from sparsecomp.passes import RewriteTransposedConv
from tests.graphs import operators, program, rewrite, tensor


def captured(layer, *shape, dynamic=None):
    return program(lambda net, x: net.up(x), tensor(*shape), up=layer, dynamic=dynamic)


@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_windows_side_by_side_become_one_product(factor, bias):
    upsampled = captured(nn.ConvTranspose2d(3, 5, factor, stride=factor, bias=bias), 2, 3, 4, 6)
    assert rewrite(upsampled, RewriteTransposedConv()) == [True]
    assert operators(upsampled) == ["conv2d.default", "pixel_shuffle.default"]


def test_the_batch_may_vary():
    upsampled = captured(nn.ConvTranspose2d(3, 5, 2, stride=2), 2, 3, 4, 6, dynamic=({0: torch.export.Dim("batch")},))
    rewrite(upsampled, RewriteTransposedConv())
    assert upsampled(tensor(7, 3, 4, 6)).shape == (7, 5, 8, 12)


@pytest.mark.parametrize(
    "layer",
    [
        nn.ConvTranspose2d(4, 6, 3, stride=2),
        nn.ConvTranspose2d(4, 6, 2, stride=2, padding=1),
        nn.ConvTranspose2d(4, 6, 2, stride=2, output_padding=1),
        nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2),
        nn.ConvTranspose2d(4, 6, (2, 3), stride=(2, 3)),
        nn.ConvTranspose2d(4, 6, 2, stride=2, dilation=2),
    ],
    ids=["overlap", "padding", "output padding", "groups", "not square", "dilation"],
)
def test_others_stay(layer):
    upsampled = captured(layer, 1, 4, 4, 6)
    assert rewrite(upsampled, RewriteTransposedConv()) == [False]

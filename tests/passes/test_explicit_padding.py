"""Padding given by a word."""

import pytest
from torch import nn

from sparsecomp.passes import Canonicalize
from tests.graphs import operators, program, rewrite, tensor


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("kernel", "dilation"), [((3, 3), 1), ((4, 3), 1), ((2, 3), (3, 2))])
@pytest.mark.parametrize("shape", [(2, 3, 9, 8), (3, 9, 8)], ids=["batch", "image"])
def test_padding_is_numbers(padding, kernel, dilation, shape):
    conv = nn.Conv2d(3, 4, kernel, padding=padding, dilation=dilation)
    found = program(lambda net, x: net.conv(x), tensor(*shape), conv=conv)
    rewrite(found, Canonicalize())
    assert "conv2d.default" in operators(found) and "conv2d.padding" not in operators(found)


@pytest.mark.parametrize(("conv", "shape"), [(nn.Conv1d, (2, 3, 9)), (nn.Conv3d, (2, 3, 5, 6, 7))])
def test_padding_is_numbers_along_any_number_of_axes(conv, shape):
    found = program(lambda net, x: net.conv(x), tensor(*shape), conv=conv(3, 4, 4, padding="same"))
    rewrite(found, Canonicalize())
    assert operators(found)[0] == "constant_pad_nd.default"

"""Depthwise convolution against PyTorch over filter sizes, strides, paddings and activations."""

import pytest
import torch
from torch.nn import functional as F
from tvm import tirx

from sparsecomp.kernels.depthwise import DepthwiseSpec, build
from sparsecomp.kernels.windows import Window
from tests.schedules.reference import HOST, call, error

CASES = [
    *[(16, 19, 3, 1, 1), (8, 20, 3, 2, 1), (5, 19, 5, 2, 2), (3, 33, 7, 1, 3), (4, 7, 3, 1, 0), (1, 3, 3, 1, 1)],
    *[(3, 7, 3, 1, 1), (3, 14, 3, 2, 1), (2, 56, 3, 1, 1), (3, 28, 5, 2, 2), (2, 40, 2, 2, 0), (2, 35, 4, 1, 2)],
    *[(3, 70, 3, 2, 1), (2, 112, 3, 2, 1), (2, 99, 3, 2, 1), (2, 80, 3, 2, 0)],
    *[(3, 21, 3, 3, 1), (2, 20, 9, 1, 4)],  # another stride, more taps than are written out
]
ACTIVATIONS = {
    None: lambda v: v,
    "relu": F.relu,
    "relu6": F.relu6,
    "silu": F.silu,
    "gelu": F.gelu,
    "hardswish": F.hardswish,
}


def convolve(channels, size, kernel, stride, padding, activation=None, batch=2):
    x, weight = torch.randn(2, channels, size, size), torch.randn(channels, 1, kernel, kernel)
    bias = torch.randn(channels)
    window = Window(batch, channels, size, size, (kernel, kernel), (stride, stride), (padding, padding))
    expected = ACTIVATIONS[activation](F.conv2d(x, weight, bias, stride, padding, groups=channels))
    func = build(DepthwiseSpec(window, True, activation), HOST)
    return error(call(func, x, weight, bias, shape=expected.shape), expected)


@pytest.mark.parametrize("case", CASES)
def test_convolution(case):
    assert convolve(*case) <= 1e-6


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation(activation):
    assert convolve(4, 9, 3, 1, 1, activation) <= 1e-6


def test_symbolic_batch():
    assert convolve(4, 9, 3, 1, 1, batch=tirx.Var("batch", "int64")) <= 1e-6

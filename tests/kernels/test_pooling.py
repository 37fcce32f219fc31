"""Pooling against PyTorch."""

import pytest
import torch
from torch.nn import functional as F

from sparsecomp.kernels.pooling import build_average_pool, build_global_mean, build_max_pool
from sparsecomp.kernels.windows import Window
from sparsecomp.lower.machine_code import compile_kernel
from tests.schedules.reference import HOST, call, error

CASES = [(3, 2, 1), (2, 2, 0), (5, 1, 2), (3, 3, 1), (8, 2, 4)]
SIZES = [(19, 21), (56, 56), (8, 11)]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", SIZES)
def test_maximum(case, size):
    kernel, stride, padding = case
    x = torch.randn(2, 5, *size) - 5
    window = Window(2, 5, *size, (kernel, kernel), (stride, stride), (padding, padding))
    expected = F.max_pool2d(x, kernel, stride, padding)
    assert torch.equal(call(build_max_pool(window, HOST), x, shape=expected.shape), expected)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count_padding", [True, False])
def test_average(case, size, count_padding):
    kernel, stride, padding = case
    x = torch.randn(2, 5, *size)
    window = Window(2, 5, *size, (kernel, kernel), (stride, stride), (padding, padding))
    expected = F.avg_pool2d(x, kernel, stride, padding, count_include_pad=count_padding)
    assert error(call(build_average_pool(window, HOST, count_padding), x, shape=expected.shape), expected) <= 1e-6


@pytest.mark.parametrize("size", [(10, 7), (18, 9), (10, 3)])
def test_nothing_is_written_behind_narrow_planes(size):
    x = torch.randn(1, 3, *size)
    expected = F.max_pool2d(x, 3, 1)
    memory = torch.full((expected.numel() + HOST.lanes,), 7.0)
    result = memory[: expected.numel()].view(expected.shape)
    compile_kernel(build_max_pool(Window(1, 3, *size, (3, 3)), HOST), HOST).jit().main(x, result)
    assert torch.equal(result, expected)
    assert torch.equal(memory[expected.numel() :], torch.full((HOST.lanes,), 7.0))


@pytest.mark.parametrize("size", [1, 7, 49, 3136])
def test_mean_of_planes(size):
    x = torch.randn(2, 5, size)
    assert error(call(build_global_mean(2, 5, size, HOST), x, shape=(2, 5)), x.mean(-1)) <= 1e-6

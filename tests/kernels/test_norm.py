"""Softmax and layer norm of rows against PyTorch."""

import pytest
import torch
from torch.nn import functional as F
from tvm import tirx

from sparsecomp.kernels.norm import build_layer_norm, build_softmax
from tests.schedules.reference import HOST, call, error

SIZES = [1, 7, 8, 33, 100, 768]


@pytest.mark.parametrize("size", SIZES)
def test_softmax(size):
    x = torch.randn(5, size) * 10
    rows = tirx.Var("rows", "int64")
    assert error(call(build_softmax(rows, size, HOST), x, shape=x.shape), F.softmax(x, -1)) <= 1e-6


@pytest.mark.parametrize("size", SIZES[1:])
def test_layer_norm(size):
    x, weight, bias = torch.randn(5, size), torch.randn(size), torch.randn(size)
    found = call(build_layer_norm(5, size, 1e-5, True, HOST), x, weight, bias, shape=x.shape)
    assert error(found, F.layer_norm(x, (size,), weight, bias, 1e-5)) <= 1e-6


@pytest.mark.parametrize("seed", range(5))
def test_a_large_mean_costs_no_precision(seed):
    torch.manual_seed(seed)
    x = torch.randn(3, 100) + 1000
    found = call(build_layer_norm(3, 100, 1e-5, False, HOST), x, shape=x.shape)
    assert error(found, F.layer_norm(x.double(), (100,), eps=1e-5)) <= 1e-6


def test_sums_that_share_a_loop_are_in_vectors():
    loops = build_layer_norm(5, 768, 1e-5, True, HOST).script().splitlines()
    assert not [line for line in loops if "in range(T.int64(768))" in line]

"""Products of two activations against double precision."""

import pytest
import torch
from tvm import tirx

from sparsecomp.kernels.matmul import MatmulSpec, build
from tests.schedules.reference import HOST, WIDE, call, error

SHAPES = [(2, 64, 64, 32), (1, 5, 3, 7), (3, 300, 65, 33), (1, 1, 77, 40), (2, 7, 1, 1), (2, 19, 23, 1)]


def multiply(shape, target=HOST, transpose_a=False, transpose_b=False, sizes=None):
    batch, rows, columns, depth = shape
    a, b = torch.randn(batch, rows, depth), torch.randn(batch, depth, columns)
    spec = MatmulSpec(*(sizes or shape), transpose_a=transpose_a, transpose_b=transpose_b)
    args = (a.mT if transpose_a else a, b.mT if transpose_b else b)
    return error(call(build(spec, target), *args, shape=(batch, rows, columns)), a.double() @ b.double())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("target", [HOST, WIDE], ids=lambda t: t.name)
def test_product(shape, target):
    assert multiply(shape, target) <= 1e-6


@pytest.mark.parametrize("transposed", [(True, False), (False, True), (True, True)])
def test_transposed_operands(transposed):
    assert multiply((2, 37, 41, 19), HOST, *transposed) <= 1e-6


def test_symbolic_rows():
    assert multiply((2, 37, 41, 19), sizes=(2, tirx.Var("rows", "int64"), 41, 19)) <= 1e-6

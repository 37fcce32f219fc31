"""Nearest neighbours and pixel_shuffle against PyTorch, over widths around that of a vector."""

import pytest
import torch
from torch.nn import functional as F
from tvm import tirx

from sparsecomp.kernels.interleave import Enlargement, build
from tests.schedules.reference import HOST, call

WIDTHS = (1, 3, 7, 16, 19, 40)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("factors", [(1, 2), (2, 2), (3, 2), (2, 3), (4, 4), (3, 1)])
def test_nearest_neighbours(width, factors):
    x = torch.randn(2, 3, 5, width)
    expected = F.interpolate(x, (5 * factors[0], width * factors[1]), mode="nearest")
    assert torch.equal(
        call(build(Enlargement(2, 3, 5, width, *factors, False), HOST), x, shape=expected.shape), expected
    )


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_pixel_shuffle(width, factor):
    x = torch.randn(2, 3 * factor**2, 5, width)
    expected = F.pixel_shuffle(x, factor)
    problem = Enlargement(2, 3 * factor**2, 5, width, factor, factor, True)
    assert torch.equal(call(build(problem, HOST), x, shape=expected.shape), expected)


def test_symbolic_batch_on_threads():
    x = torch.randn(3, 64, 20, 20)
    problem = Enlargement(tirx.Var("batch", "int64"), 64, 20, 20, 2, 2, False)
    expected = F.interpolate(x, scale_factor=2)
    assert torch.equal(call(build(problem, HOST), x, shape=expected.shape), expected)

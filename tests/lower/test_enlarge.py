"""Images made larger or smaller against PyTorch, for sizes and for scales that do not fall on a whole size."""

import pytest
import torch
from torch.nn import functional as F

import sparsecomp
from tests.graphs import net, tensor

SIZES = [{"size": (7, 9)}, {"size": (3, 2)}, {"scale_factor": 1.5}, {"scale_factor": 2.3}, {"scale_factor": (2.0, 3.0)}]
MODES = [{"mode": "nearest"}, {"mode": "bilinear"}, {"mode": "bilinear", "align_corners": True}]


@pytest.mark.parametrize("size", [*SIZES, {"scale_factor": 2.1}], ids=str)
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_resized(size, mode):
    x = tensor(2, 3, 5, 6)
    model = net(lambda net, x: F.interpolate(x, **size, **mode))
    torch.testing.assert_close(sparsecomp.compile(model, "native", (x,))(x), model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 5])
def test_pixel_shuffle_of_any_factor(factor):
    x = tensor(2, 2 * factor**2, 3, 4)
    model = net(lambda net, x: F.pixel_shuffle(x, factor))
    assert torch.equal(sparsecomp.compile(model, "native", (x,))(x), model(x))

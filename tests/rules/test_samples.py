"""Programs that compute every sample alone and alike are told from those that do not."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sparsecomp.capture import capture
from sparsecomp.passes import Canonicalize, EliminateDead, FoldConstants
from sparsecomp.rules.propagate import applications, constants
from sparsecomp.rules.samples import batch_size, sample_axes
from tests.graphs import net, program, tensor
from tests.passes.random_networks import random_network

ALONE = {
    "convolution": lambda n, x: n.conv(x),
    "pointwise": lambda n, x: F.gelu(x) * 2 + x,
    "softmax over channels": lambda n, x: torch.softmax(x, 1),
    "mean of each": lambda n, x: x.mean((2, 3)),
    "flattened and cut again": lambda n, x: x.flatten(0, 1).reshape(4, 3, 6, 6),
    "samples inside": lambda n, x: x.permute(1, 2, 0, 3).flatten(1, 2).relu().reshape(3, 6, 4, 6).permute(2, 0, 1, 3),
    "selected by number": lambda n, x: x.index_select(0, torch.arange(4)),
    "doubled and cut": lambda n, x: torch.add(*torch.cat([x, x + 1]).chunk(2)),
    "a token for all": lambda n, x: torch.cat([n.token.expand(4, 1, 6, 6), x], 1),
    "the same bias for all": lambda n, x: x + n.even,
    "products of its own": lambda n, x: x @ x.transpose(2, 3),
    "attention": lambda n, x: F.scaled_dot_product_attention(x, x, x),
}
TOGETHER = {
    "softmax over samples": lambda n, x: torch.softmax(x, 0),
    "mean of all": lambda n, x: x - x.mean(0, keepdim=True),
    "running sum": lambda n, x: x.cumsum(0),
    "turned": lambda n, x: x.flip(0),
    "met by its mirror image": lambda n, x: x + x.flip(0),
    "turned twice": lambda n, x: x.flip(0).relu().flip(0),
    "exchanged": lambda n, x: x.index_select(0, torch.tensor([0, 2, 1, 3])),
    "parts exchanged": lambda n, x: torch.cat([x[:2] + 1, x[2:]]),
    "a bias each": lambda n, x: x + n.each,
    "numbered": lambda n, x: x * torch.arange(4.0)[:, None, None, None],
    "products of pairs": lambda n, x: x.flatten(1) @ x.flatten(1).T,
    "pairs": lambda n, x: x.mean((1, 2, 3))[:, None] * x.mean((1, 2, 3))[None],
    "filters from samples": lambda n, x: F.conv2d(x, x[:, :, :3, :3]),
    "samples as channels": lambda n, x: n.wide(x.transpose(0, 1)).transpose(0, 1),
    "not on the first axis": lambda n, x: x.transpose(0, 1),
    "one more than there are": lambda n, x: torch.cat([x, x[:1]]),
    "the triangle": lambda n, x: torch.tril(x[:, 0, 0]),
    "an operator without a rule": lambda n, x: torch.cumprod(x, 0),
    "nothing of the samples": lambda n, x: n.each * 2,
}
# Two operands exchange the second sample and the fourth: each stays what it is, but samples are not treated alike.
EXCHANGED = torch.tensor([0, 5, 2, 7, 4, 1, 6, 3])
TOGETHER["operands exchanged"] = lambda n, x: torch.cat([x, x * 2]).index_select(0, EXCHANGED).chunk(2)[0]


def axes_of(function):
    """The axes of the samples in a program of four; ``even`` is a tensor for the whole batch whose slices are equal."""
    parts = {
        "conv": nn.Conv2d(3, 3, 3, padding=1),
        "wide": nn.Conv2d(4, 4, 1),
        "token": nn.Parameter(torch.empty(1, 1, 6, 6)),
        "each": nn.Parameter(torch.empty(4, 3, 6, 6)),
    }
    model = net(function, **parts)
    model.even = torch.full((4, 3, 1, 1), 0.5)
    return found_in(capture(model, (tensor(4, 3, 6, 6),)))


def found_in(made):
    for each in (Canonicalize(), FoldConstants(), EliminateDead()):
        each.apply(made)
        made.finish()
    calls = applications(made.module)
    return sample_axes(made.module, calls, constants(made.module, calls))


@pytest.mark.parametrize("name", ALONE)
def test_samples_alone(name):
    axes = axes_of(ALONE[name])
    assert axes is not None
    assert {value.node.op for value, _ in axes} >= {"placeholder"}


@pytest.mark.parametrize("name", TOGETHER)
def test_samples_together(name):
    assert axes_of(TOGETHER[name]) is None


def test_inputs_without_the_batch_are_shared():
    made = program(lambda n, x, scale: x * scale, tensor(4, 3), tensor(3))
    axes = found_in(made)
    assert [value.node.name for value, _ in axes if value.node.op == "placeholder"] == [made.placeholders()[0].name]


def test_the_size_of_a_batch():
    assert batch_size(program(lambda n, x: (x, x + 1), tensor(4, 3)).module) == 4
    assert batch_size(program(lambda n, x: (x, x[:2]), tensor(4, 3)).module) is None
    assert batch_size(program(lambda n, x: x.sum(), tensor(4, 3)).module) is None


@pytest.mark.parametrize("seed", range(20))
def test_random_networks_are_proved_and_the_proof_holds(seed):
    model, x = random_network(seed), tensor(4, 3, 6, 8, seed=seed)
    assert found_in(capture(model, (x,))) is not None
    with torch.no_grad():
        whole, order = model(x), torch.randperm(4, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(model(x[order]), whole[order], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model(x[1:3]), whole[1:3], rtol=1e-4, atol=1e-5)

"""A 1x1 convolution of an upsampled image is computed on the small image."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import sparsecomp
from sparsecomp.passes import MixBeforeUpsampling
from tests.graphs import assert_close, net, operators, program, rewrite, tensor

SMALL, LARGE = tensor(2, 24, 5, 7), tensor(2, 12, 10, 14, seed=2)
UP = {
    "nearest": {"scale_factor": 2, "mode": "nearest"},
    "nearest, size": {"size": (10, 14), "mode": "nearest"},
    "bilinear": {"scale_factor": 2, "mode": "bilinear"},
    "bilinear, corners": {"scale_factor": 2, "mode": "bilinear", "align_corners": True},
}


def sizes_of_products(captured):
    return [tuple(node.meta["val"].shape[2:]) for node in captured.calls() if "conv" in str(node.target)]


@pytest.mark.parametrize("how", UP)
@pytest.mark.parametrize("bias", [True, False])
def test_upsampled_channels_are_mixed_before(how, bias):
    captured = program(
        lambda net, a, b: F.silu(net.mix(torch.cat([F.interpolate(a, **UP[how]), b], 1))),
        *(SMALL, LARGE),
        mix=nn.Conv2d(36, 8, 1, bias=bias),
    )
    assert rewrite(captured, MixBeforeUpsampling()) == [True]
    assert sizes_of_products(captured) == [(10, 14), (5, 7)]
    assert not any(name.startswith("cat") for name in operators(captured))


def test_all_members_may_be_upsampled_and_others_stay_together():
    def segformer(net, a, b, c):
        x = [F.interpolate(a, (10, 14), mode="bilinear"), b, F.interpolate(c, (10, 14), mode="bilinear"), b]
        return net.mix(torch.cat(x, dim=-3)), net.last(torch.cat([x[0], x[2]], 1))

    parts = {"mix": nn.Conv2d(24 + 12 + 30 + 12, 16, 1), "last": nn.Conv2d(54, 4, 1)}
    captured = program(segformer, SMALL, LARGE, tensor(2, 30, 2, 3), **parts)
    assert rewrite(captured, MixBeforeUpsampling()) == [True]
    assert sorted(sizes_of_products(captured)) == [(2, 3), (2, 3), (5, 7), (5, 7), (10, 14)]


def test_a_convolution_of_nothing_else_takes_its_bias_along():
    captured = program(lambda net, a: net.mix(net.up(a)), SMALL, mix=nn.Conv2d(24, 8, 1), up=nn.Upsample(None, 3.0))
    assert rewrite(captured, MixBeforeUpsampling()) == [True]
    assert operators(captured) == ["conv2d.default", "upsample_nearest2d.vec"]


def test_sequences():
    captured = program(lambda net, a: net.mix(net.up(a)), tensor(1, 24, 9), mix=nn.Conv1d(24, 8, 1), up=nn.Upsample(30))
    assert rewrite(captured, MixBeforeUpsampling()) == [True]
    assert operators(captured) == ["conv1d.default", "upsample_nearest1d.vec"]


STAYS = {
    "3x3": (nn.Conv2d(24, 8, 3, padding=1), {"scale_factor": 2}),
    "strided": (nn.Conv2d(24, 8, 1, stride=2), {"scale_factor": 2}),
    "padded": (nn.Conv2d(24, 8, 1, padding=1), {"scale_factor": 2}),
    "grouped": (nn.Conv2d(24, 8, 1, groups=2), {"scale_factor": 2}),
    "smaller": (nn.Conv2d(24, 8, 1), {"size": (3, 4)}),
    "hardly larger": (nn.Conv2d(24, 8, 1), {"scale_factor": 1.2, "mode": "nearest"}),
}


@pytest.mark.parametrize("name", STAYS)
def test_others_stay(name):
    mix, how = STAYS[name]
    captured = program(lambda net, a: net.mix(F.interpolate(a, **how)), SMALL, mix=mix)
    assert rewrite(captured, MixBeforeUpsampling()) == [False]


def test_few_nonzeros_are_multiplied_where_they_are():
    """Adding and upsampling what they give would cost more than they do."""
    parts = {"mix": nn.Conv2d(24, 8, 1)}
    captured = program(lambda net, a: net.mix(F.interpolate(a, scale_factor=2)), SMALL, **parts)
    captured.module.mix.weight.data[:, 20:] = 0
    assert rewrite(captured, MixBeforeUpsampling()) == [False]


def test_compiled():
    def neck(net, a, b):
        return F.silu(net.mix(torch.cat([F.interpolate(a, scale_factor=2), b], 1)))

    model = net(neck, mix=nn.Conv2d(36, 8, 1))
    compiled = sparsecomp.compile(model, "native", (SMALL, LARGE))
    assert_close(compiled(SMALL, LARGE), model(SMALL, LARGE))
    assert sorted(decision["problem"]["height"] for decision in compiled.report.decisions) == [5, 10]

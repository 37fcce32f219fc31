"""A small model with everything that a report tells of, and its compiled form."""

import functools

import torch
from torch import nn

import sparsecomp
from tests.graphs import net, tensor


def forward(net, x):
    y = net.norm(net.conv(x)).relu()
    y = (net.body(y) + y).flatten(1)
    return net.head(net.hidden(y).relu()).softmax(-1)


def model():
    """A convolution with two zero channels of eight, a sparse linear layer, and a dense one."""
    made = net(
        forward,
        conv=nn.Conv2d(3, 8, 3, padding=1),
        norm=nn.BatchNorm2d(8),
        body=nn.Conv2d(8, 8, 3, padding=1),
        hidden=nn.Linear(8 * 8 * 8, 256),
        head=nn.Linear(256, 10),
    )
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        made.hidden.weight[torch.rand(256, 512, generator=generator) < 0.9] = 0
        for part in (made.conv, made.body):
            part.weight[:2] = 0
            part.bias[:2] = 0
        made.norm.weight[:2] = 0
        made.norm.bias[:2] = 0
    return made


def inputs():
    return (tensor(32, 3, 8, 8),)


@functools.cache
def compiled():
    """Compiled once for all tests; for a target with the same fields on every machine."""
    return sparsecomp.compile(model(), "native", inputs())

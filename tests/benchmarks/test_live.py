"""The count of what has to be left, against networks where it can be done by hand."""

import torch
from torch import nn

from benchmarks.live import live_work
from benchmarks.zoo import Inputs


def counts(network: nn.Module, *shape: int) -> tuple[int, int, int, int]:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    work = live_work(network.eval(), Inputs((x,)))
    return work.parameters, work.live_parameters, work.macs, work.live_macs


def test_dead_results_and_constant_inputs_do_not_count() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 1))
    with torch.no_grad():
        network[0].weight[[0, 2]] = 0.0
        network[2].weight[4] = 0.0
    parameters, live = 4 * 3 * 9 + 5 * 4, 2 * 3 * 9 + 4 * 2
    assert counts(network, 2, 3, 6, 6) == (parameters, live, parameters * 72, live * 72)


def test_groups_read_their_own_channels() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, groups=4))
    with torch.no_grad():
        network[0].weight[1] = 0.0
    assert counts(network, 2, 3, 6, 6)[:2] == (12 + 36, 9 + 27)


def test_a_channel_that_relu_never_passes_is_not_dead() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        network[0].bias.fill_(-100.0)
    assert counts(network, 4, 3)[:2] == (8, 8)

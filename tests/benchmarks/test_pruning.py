import pytest
import torch
from torch import nn

from benchmarks.pruning import keep_mask, prunable, prune_magnitude


@pytest.mark.parametrize("sparsity", [0.0, 0.25, 0.9, 1.0])
def test_the_smallest_magnitudes_go(sparsity: float) -> None:
    weight = torch.randn(8, 25)
    mask = keep_mask(weight, sparsity)
    assert (~mask).sum() == round(sparsity * weight.numel())
    if 0 < sparsity < 1:
        assert weight[~mask].abs().max() <= weight[mask].abs().min()


def test_ties_are_cut_to_the_exact_number() -> None:
    assert (~keep_mask(torch.ones(10), 0.3)).sum() == 3


def test_a_sparsity_in_per_cent_is_refused() -> None:
    with pytest.raises(ValueError, match="fraction from 0 to 1, not 90"):
        keep_mask(torch.ones(2), 90)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(5, 4)
        self.first = nn.Conv1d(4, 4, 1)
        self.depthwise = nn.Conv1d(4, 4, 3, groups=4)
        self.middle = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.tied = nn.Linear(4, 5, bias=False)
        self.tied.weight = self.tokens.weight


def test_linear_and_ungrouped_convolutions_but_the_first_are_pruned() -> None:
    assert list(prunable(Network())) == ["middle"]


def test_pruning_writes_zeros_and_tells_their_fraction() -> None:
    network = Network()
    first = network.first.weight.clone()
    assert prune_magnitude(network, 0.5) == 0.5
    assert (network.middle.weight == 0).sum() == 8
    assert torch.equal(network.first.weight, first)


def test_a_network_without_such_layers_stays_as_it_is() -> None:
    assert prune_magnitude(nn.Sequential(nn.ReLU()), 0.9) == 0.0

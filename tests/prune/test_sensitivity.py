import pytest
import torch
from torch import nn

from sparsecomp.errors import PruneError
from sparsecomp.prune.sensitivity import sensitivity

DATA = [(torch.randn(16, 8, generator=torch.Generator().manual_seed(0)),)]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 2)).eval()


def test_each_layer_alone_at_each_level(model):
    before = {name: p.clone() for name, p in model.named_parameters()}
    found = sensitivity(model, DATA, levels=(0.0, 0.5, 0.9))
    assert found.dense == 0.0
    assert found.values.keys() == {"0.weight", "1.weight", "2.weight"}
    assert all(values[0] == 0.0 and 0 < values[1] < values[2] for values in found.values.values())
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_a_metric_of_the_users_own(model):
    def zeros(candidate):
        return sum(float((p == 0).sum()) for p in candidate.parameters())

    found = sensitivity(model, DATA, zeros, (0.25, 0.5))
    assert found.values == {"0.weight": (16.0, 32.0), "1.weight": (16.0, 32.0), "2.weight": (4.0, 8.0)}


def test_it_is_plotted(model, tmp_path):
    pytest.importorskip("matplotlib")
    sensitivity(model, DATA, levels=(0.5,)).plot(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("data", "levels"), [([], (0.5,)), (DATA, (1.0,))])
def test_wrong_arguments(model, data, levels):
    with pytest.raises(PruneError):
        sensitivity(model, data, levels=levels)


def test_layers_that_pruning_leaves_dense_by_default_are_judged_too(model):
    every = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert {name.removesuffix(".weight") for name in sensitivity(model, DATA, levels=(0.5,)).values} == every
    assert "0.weight" not in sensitivity(model, DATA, levels=(0.5,), exclude=["0"]).values

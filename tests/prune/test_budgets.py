import pytest
import torch

from sparsecomp.errors import PruneError
from sparsecomp.prune.budgets import ErdosRenyi, Flops, Global, PerLayer, Share, Uniform, parse_budget


def share(name, *shape, uses=1, scores=None):
    size = torch.Size(shape).numel()
    return Share(name, shape, size, uses, scores)


def kept(layers, densities):
    return sum(densities[layer.name] * layer.size for layer in layers) / sum(layer.size for layer in layers)


def test_uniform():
    assert Uniform().densities([share("a", 2, 3), share("b", 9, 9)], 0.3) == {"a": 0.3, "b": 0.3}


def test_global_is_one_threshold():
    layers = [
        share("a", 2, 2, scores=torch.tensor([1.0, 2, 3, 4])),
        share("b", 2, 2, scores=torch.tensor([3.5, 5, 6, 7])),
    ]
    assert Global().densities(layers, 0.5) == {"a": 0.25, "b": 0.75}


def test_global_leaves_every_layer_something():
    layers = [share("a", 10, 10, scores=torch.rand(100)), share("b", 10, 10, scores=1 + torch.rand(100))]
    found = Global(min_density=0.1).densities(layers, 0.3)
    assert found["a"] == 0.1
    assert kept(layers, found) == pytest.approx(0.3)


@pytest.mark.parametrize("budget", [Global(0.2), Flops(0.2)])
def test_least_densities_above_the_budget_are_refused(budget):
    with pytest.raises(PruneError, match="cannot be met"):
        budget.densities([share("a", 2, 2, scores=torch.rand(4))], 0.1)


def test_erdos_renyi_by_hand():
    """Raw densities 2/10 (10 x 10: 20/100) and 11/10 (10 x 100: 110/1000): both follow one factor."""
    layers = [share("a", 10, 10), share("b", 10, 100)]
    found = ErdosRenyi(kernel=False).densities(layers, 0.2)
    assert found["a"] / found["b"] == pytest.approx((20 / 100) / (110 / 1000))
    assert kept(layers, found) == pytest.approx(0.2)


def test_the_kernel_counts_in_erk_alone():
    assert ErdosRenyi(kernel=True).raw((8, 4, 3, 3)) == pytest.approx(18 / 288)
    assert ErdosRenyi(kernel=False).raw((8, 4, 3, 3)) == pytest.approx(12 / 32)


def test_a_layer_that_would_exceed_one_is_dense_and_the_others_are_solved_again():
    layers = [share("small", 2, 2), share("a", 50, 50), share("b", 100, 50)]
    found = ErdosRenyi().densities(layers, 0.5)
    assert found["small"] == 1.0
    assert found["a"] / found["b"] == pytest.approx((100 / 2500) / (150 / 5000))
    assert kept(layers, found) == pytest.approx(0.5)


def test_flops_spends_the_budget_on_what_is_worth_it():
    scores = torch.arange(1.0, 101)
    layers = [share("often", 10, 10, uses=100, scores=scores), share("once", 10, 10, uses=1, scores=scores)]
    found = Flops().densities(layers, 0.5)
    assert found["once"] > 0.99
    spent = (found["often"] * 100 + found["once"]) / 101
    assert spent == pytest.approx(0.5, abs=0.01)


def test_a_budget_for_each_layer_by_name_or_pattern():
    layers = [share("enc.0.weight", 2, 2), share("enc.1.weight", 2, 2), share("head.weight", 2, 2)]
    found = PerLayer({"enc.*": 0.5, "enc.1": 0.75}).densities(layers, 0.0)
    assert found == {"enc.0.weight": 0.5, "enc.1.weight": 0.25, "head.weight": 1.0}


@pytest.mark.parametrize("wrong", [{"decoder": 0.5}, {"a": 1.0}, {"a": -0.1}])
def test_a_wrong_budget_for_a_layer(wrong):
    with pytest.raises(PruneError):
        PerLayer(wrong).densities([share("a", 2, 2)], 0.5)


def test_names():
    assert parse_budget("erk") == ErdosRenyi()
    assert parse_budget({"a": 0.5}) == PerLayer({"a": 0.5})
    with pytest.raises(PruneError, match="uniform"):
        parse_budget("fair")

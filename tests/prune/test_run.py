import copy

import pytest
import torch
from torch import nn

from sparsecomp.errors import PruneError
from sparsecomp.prune.run import prune_model, request
from sparsecomp.prune.scores import SCORES


def loss(outputs, target):
    return outputs.square().mean()


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, groups=2),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, groups=16),
        nn.Flatten(),
        nn.Linear(64, 32),
        nn.ReLU(),
        nn.Linear(32, 5),
    ).eval()


DATA = [(torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(i)),) for i in range(3)]


def unchanged(model, before):
    return all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("pattern", ["unstructured", "block4x1", "2:4"])
@pytest.mark.parametrize("score", SCORES)
def test_every_score_with_every_pattern(model, score, pattern):
    before = copy.deepcopy(model.state_dict())
    found = prune_model(model, request(DATA[0], sparsity=0.5, pattern=pattern, score=score, data=DATA, loss=loss))
    assert type(found.model) is type(model)
    assert unchanged(model, before)
    assert found.masks.keys() == {"3.weight", "7.weight"}
    assert found.report.sparsity == pytest.approx(0.5, abs=0.01)
    for name, mask in found.masks.items():
        weight = found.model.get_parameter(name)
        assert not bool(weight[~mask].any())
        rows = mask.flatten(1) if pattern == "block4x1" else mask.movedim(1, -1).reshape(-1, 4)
        if pattern == "block4x1":
            assert all(len(set(column)) == 1 for block in rows.split(4) for column in block.T.tolist())
        elif pattern == "2:4":
            assert rows.sum(1).unique().tolist() == [2]
    others = set(model.state_dict()) - set(found.masks)
    assert all(torch.equal(found.model.state_dict()[name], before[name]) for name in others)


def test_the_report_says_what_stays_dense_and_why(model):
    report = prune_model(model, request(sparsity=0.5)).report
    notes = {layer.name: layer.note for layer in report.layers if layer.note}
    assert notes == {
        "0.weight": "the first convolution",
        "5.weight": "depthwise: an output reads one channel alone",
        "9.weight": "the last linear layer",
    }
    assert "depthwise" in str(report)
    assert report.to_dict()["sparsity"] == report.sparsity
    assert "| 7.weight | 32×64 | unstructured | 0.500 |" in report.to_markdown()
    assert report.expected["bytes_pruned"] < report.expected["bytes_dense"]


def test_exclude_takes_the_place_of_the_default(model):
    assert prune_model(model, request(sparsity=0.5, exclude=["7"])).masks.keys() == {
        "0.weight", "3.weight", "5.weight", "9.weight",
    }  # fmt: skip
    assert len(prune_model(model, request(sparsity=0.5, exclude=())).masks) == 5


def test_a_model_of_one_layer_is_not_left_dense():
    assert prune_model(nn.Sequential(nn.Linear(8, 8)), request(sparsity=0.5)).report.sparsity == 0.5


@pytest.mark.parametrize("budget", ["uniform", "global", "er", "erk"])
def test_budgets_are_met(model, budget):
    assert prune_model(model, request(DATA[0], sparsity=0.8, budget=budget)).report.sparsity == pytest.approx(
        0.8, abs=0.01
    )


def test_the_flops_budget_counts_uses(model):
    found = prune_model(model, request(DATA[0], sparsity=0.5, budget="flops"))
    densities = {layer.name: layer.density for layer in found.report.layers if layer.pattern}
    work = {"3.weight": 16 * 16 * 4 * 9, "7.weight": 64 * 32}
    assert sum(densities[n] * w for n, w in work.items()) == pytest.approx(0.5 * sum(work.values()), rel=0.02)


def test_a_budget_for_each_layer(model):
    found = prune_model(model, request(budget={"7": 0.75, "9": 0.5}))
    assert {n: float(m.float().mean()) for n, m in found.masks.items() if not m.all()} == {
        "7.weight": 0.25,
        "9.weight": 0.5,
    }


def test_a_dry_run_changes_nothing(model):
    before = copy.deepcopy(model.state_dict())
    found = prune_model(model, request(sparsity=0.5), dry_run=True)
    assert found.model is model
    assert unchanged(model, before)
    assert found.report.sparsity == pytest.approx(0.5, abs=0.01)


def test_training_mode_stays(model):
    model.train()
    model[1].eval()
    found = prune_model(model, request(DATA[0], sparsity=0.5, score="wanda", data=DATA)).model
    assert [m.training for m in found.modules()] == [m.training for m in model.modules()]
    assert torch.equal(found[1].running_mean, model[1].running_mean)


def test_an_exported_program_stays_one(model):
    exported = torch.export.export(model, DATA[0])
    before = {name: value.clone() for name, value in exported.state_dict.items()}
    found = prune_model(exported, request(sparsity=0.5, score="sparsegpt", data=DATA))
    same = prune_model(model, request(sparsity=0.5, score="sparsegpt", data=DATA))
    assert type(found.model) is type(exported)
    torch.testing.assert_close(found.model.module()(*DATA[1]), same.model(*DATA[1]))
    assert all(torch.equal(exported.state_dict[name], value) for name, value in before.items())


def test_keyword_inputs():
    class Keyword(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, *, x):
            return self.b(self.a(x))

    found = prune_model(Keyword(), request(sparsity=0.5, score="wanda", data=[((), {"x": torch.randn(3, 4)})]))
    assert found.masks.keys() == {"a.weight"}


def test_weights_that_the_data_never_reaches_stay_dense():
    class Partly(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.lstm, self.b = nn.Linear(4, 4), nn.LSTM(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.b(self.lstm(self.a(x))[0])

    report = prune_model(Partly(), request(sparsity=0.5, score="wanda", data=[torch.randn(2, 4)])).report
    notes = {layer.name: layer.note for layer in report.layers}
    assert "never reaches" in notes["lstm.weight_hh_l0"]
    assert notes["a.weight"] == ""


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"sparsity": 1.0}, "from 0 to below 1"),
        ({"sparsity": -0.1}, "from 0 to below 1"),
        ({"sparsity": 50}, "from 0 to below 1"),
        ({}, "say how much"),
        ({"sparsity": 0.5, "score": "wanda"}, "needs data"),
        ({"sparsity": 0.5, "score": "wanda", "data": []}, "data is empty"),
        ({"sparsity": 0.5, "score": "snip", "data": DATA}, "needs loss"),
        ({"sparsity": 0.5, "repair": True}, "needs data"),
        ({"sparsity": 0.5, "pattern": "channels"}, "needs args"),
        ({"sparsity": 0.5, "data": ["text"], "score": "wanda"}, "an item of data"),
        ({"sparsity": 0.75, "pattern": "2:4"}, "cannot be met"),
        ({"pattern": "2:4", "budget": "global"}, "one sparsity for all layers"),
        ({"sparsity": 0.5, "budget": "fair"}, "no budget"),
        ({"sparsity": 0.5, "score": "best"}, "no score"),
        ({"sparsity": 0.5, "pattern": "stripes"}, "no pattern"),
    ],
)
def test_wrong_requests(wanted, message):
    with pytest.raises(PruneError, match=message):
        request(**wanted)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"sparsity": 0.5, "pattern": "block5x1"}, "does not divide"),
        ({"sparsity": 0.5, "pattern": "3:7"}, r"cannot be met|does not divide"),
        ({"pattern": "1:3"}, "does not divide"),
        ({"sparsity": 0.5, "exclude": ["*"]}, "none is left"),
        ({"sparsity": 0.5, "exclude": ["encoder"]}, "none of"),
        ({"sparsity": 0.995, "budget": "global"}, "cannot be met"),
        ({"sparsity": 0.99, "pattern": "block16x32", "exclude": ["0", "3", "5", "9"]}, "cannot be met"),
        ({"sparsity": 0.5, "score": "wanda", "data": [torch.randn(2, 5)]}, "cannot be run"),
    ],
)
def test_what_a_model_cannot_give_leaves_it_unchanged(model, wanted, message):
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(PruneError, match=message):
        prune_model(model, request(DATA[0], **wanted))
    assert unchanged(model, before)


def test_weights_without_order(model):
    model[7].weight.data[0, 0] = float("nan")
    with pytest.raises(PruneError, match=r"7\.weight hold NaN"):
        prune_model(model, request(sparsity=0.5))


@pytest.mark.parametrize("nothing", [nn.ReLU(), nn.Embedding(3, 4), nn.LayerNorm(4)])
def test_a_model_without_weights_to_prune(nothing):
    with pytest.raises(PruneError, match="no weights that can be pruned"):
        prune_model(nothing, request(sparsity=0.5))


def test_something_that_is_no_model():
    with pytest.raises(PruneError, match="expected a torch"):
        prune_model(lambda x: x, request(sparsity=0.5))


def test_weights_that_stay_are_not_rounded(model):
    model = model.double()
    found = prune_model(model, request(sparsity=0.5))
    mask = found.masks["7.weight"]
    assert torch.equal(found.model[7].weight[mask], model[7].weight[mask])


@pytest.mark.parametrize("score", ["wanda", "sparsegpt", "variance", "reconstruction"])
def test_data_that_makes_no_numbers(model, score):
    broken = torch.full_like(DATA[0][0], float("nan"))
    with pytest.raises(PruneError, match="NaN or infinite numbers flow into"):
        prune_model(model, request(sparsity=0.5, score=score, data=[(broken,)]))


def test_a_block_may_be_wider_than_the_sweep():
    model = nn.Sequential(nn.Linear(512, 8), nn.Linear(8, 4)).eval()
    wanted = request(sparsity=0.5, pattern="block1x256", score="sparsegpt", data=[torch.randn(600, 512)], exclude=["1"])
    assert prune_model(model, wanted).report.sparsity == 0.5


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"sparsity": 0.5, "pattern": "channels", "repair": True, "data": None}, "repair needs data"),
        ({"sparsity": 0.5, "pattern": "channels"}, "pattern 'channels' needs args"),
        ({"sparsity": 0.5, "budget": "flops"}, "budget 'flops' needs args"),
        ({"sparsity": 0.5, "score": "wanda", "repair": True}, "score 'wanda' needs data"),
    ],
)
def test_who_needs_what(wanted, message):
    with pytest.raises(PruneError, match=message):
        request(**wanted)

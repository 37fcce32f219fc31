import pytest
import torch
from torch import nn

from sparsecomp.program import relative_error
from sparsecomp.prune.data import Batch
from sparsecomp.prune.repair import LEAST_POSITIONS, correct_biases, least_squares, restore_batch_norm
from sparsecomp.prune.run import prune_model, request
from sparsecomp.prune.scores import Task
from sparsecomp.prune.weights import find_weights


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4)).eval()


DATA = [
    (torch.randn(64, 16, generator=torch.Generator().manual_seed(i)) @ torch.ones(16, 16).triu(),) for i in range(4)
]


def test_least_squares_is_the_solution_of_the_normal_equations():
    torch.manual_seed(0)
    x, w = torch.randn(500, 6), torch.randn(3, 6)
    x[:, 5] = x[:, 0] + 0.1 * x[:, 5]
    kept = torch.tensor([True, True, True, False, True, False])
    found = least_squares(w, x.T @ x, kept)
    direct = torch.linalg.lstsq(x[:, kept], x @ w.T).solution.T
    torch.testing.assert_close(found[:, kept], direct, rtol=0.05, atol=0.05)
    assert not bool(found[:, ~kept].any())


def test_the_mean_that_is_lost_moves_into_the_bias(model):
    weights = find_weights(model)
    task = Task(model, {"2.weight": weights["2.weight"]}, [Batch(item) for item in DATA])
    before = {"2.weight": task.matrix("2.weight").clone()}
    x = torch.cat([model[:2](item[0]) for item in DATA])
    with torch.no_grad():
        expected = model[2](x).mean(0)
        model[2].weight[:, ::2] = 0
        correct_biases(task, before)
        torch.testing.assert_close(model[2](x).mean(0), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("score", ["magnitude", "wanda", "random", "sparsegpt"])
@pytest.mark.parametrize("pattern", ["unstructured", "block4x1", "2:4"])
def test_repair_helps(model, score, pattern):
    sparsity = 0.5 if pattern == "2:4" else 0.7
    wanted = {"sparsity": sparsity, "pattern": pattern, "score": score, "data": DATA}
    x = torch.cat([item[0] for item in DATA])
    with torch.no_grad():
        found = [prune_model(model, request(repair=r, **wanted)) for r in (False, True)]
        without, fitted = (relative_error(each.model(x), model(x)) for each in found)
    assert fitted < without * (1.1 if score == "sparsegpt" else 0.97)
    for name, mask in found[1].masks.items():
        assert not bool(found[1].model.get_parameter(name)[~mask].any())


def test_batch_norm_is_counted_over_all_batches():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)).eval()
    batches = [Batch((3 + 2 * torch.randn(8, 2, 16, 16),)) for _ in range(3)]
    assert restore_batch_norm(model, batches)
    with torch.no_grad():
        y = torch.cat([model(batch.args[0]) for batch in batches])
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-2)
    torch.testing.assert_close(y.var((0, 2, 3)), torch.ones(3), rtol=0, atol=1e-2)
    assert not model[1].training
    assert model[1].momentum == 0.1


def test_batch_norm_stays_where_there_is_too_little_data():
    model = nn.Sequential(nn.BatchNorm1d(3)).eval()
    assert not restore_batch_norm(model, [Batch((torch.randn(LEAST_POSITIONS - 1, 3),))])
    assert not bool(model[0].running_mean.any())

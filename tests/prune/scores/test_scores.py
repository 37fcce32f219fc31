"""Every score against its formula, computed densely and directly."""

import pytest
import torch
from torch import nn

from sparsecomp.errors import PruneError
from sparsecomp.prune.data import Batch
from sparsecomp.prune.patterns import NM, Block
from sparsecomp.prune.scores import SCORES, Task, parse_score
from sparsecomp.prune.scores.activation import Reconstruction
from sparsecomp.prune.scores.fisher import WoodFisher, in_blocks, surgeon, woodbury
from sparsecomp.prune.scores.magnitude import Magnitude, Random
from sparsecomp.prune.scores.sparsegpt import SparseGPT, refit, sweep
from sparsecomp.prune.scores.synflow import SynFlow
from sparsecomp.prune.weights import find_weights


def mse(outputs, target):
    return (outputs - target).square().sum()


@pytest.fixture
def task():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).eval()
    batches = [Batch((torch.randn(4, 6),), {}, torch.randn(4, 3)) for _ in range(3)]
    return Task(model, find_weights(model), batches, mse)


def inputs(task):
    return torch.cat([batch.args[0] for batch in task.batches])


def gradient(task, batches):
    parameters = [task.parameter(name) for name in task.weights]
    loss = sum(mse(batch.run(task.module), batch.target) for batch in batches) / len(batches)
    return dict(zip(task.weights, torch.autograd.grad(loss, parameters), strict=True))


def test_magnitude(task):
    w = task.module[0].weight.detach()
    assert torch.equal(Magnitude().elements(task)["0.weight"], w.abs())
    torch.testing.assert_close(Magnitude(2).elements(task)["0.weight"], w**2)


def test_random_is_seeded(task):
    one, same, other = (Random(seed).elements(task)["0.weight"] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_wanda_by_hand():
    """Two inputs of norms 5 and 1: the small weight on the loud input is worth more."""
    model = nn.Sequential(nn.Linear(2, 1, bias=False))
    model[0].weight.data = torch.tensor([[1.0, 2.0]])
    data = [Batch((torch.tensor([[3.0, 1.0], [4.0, 0.0]]),))]
    found = parse_score("wanda").elements(Task(model, find_weights(model), data))["0.weight"]
    torch.testing.assert_close(found, torch.tensor([[5.0, 2.0]]))


def test_apoz_counts_silent_inputs():
    model = nn.Sequential(nn.Linear(2, 4))
    data = [Batch((torch.tensor([[0.0, 1], [0, 0], [0, 3], [2, 4]]),))]
    found = parse_score("apoz").elements(Task(model, find_weights(model), data))["0.weight"]
    torch.testing.assert_close(found.sum(0), torch.tensor([0.25, 0.75]))


def test_variance(task):
    w, x = task.module[0].weight.detach(), inputs(task)
    torch.testing.assert_close(parse_score("variance").elements(task)["0.weight"], w**2 * x.var(0, correction=0))


def test_reconstruction_is_the_error_after_least_squares(task):
    """Removing an input and solving the others again costs exactly the score of its column."""
    w, x = task.module[0].weight.detach().double(), inputs(task).double()
    y = x @ w.T
    found = Reconstruction(damping=0.0).elements(task)["0.weight"].sum(0)
    for j in range(6):
        rest = [i for i in range(6) if i != j]
        solution = torch.linalg.lstsq(x[:, rest], y).solution
        assert float(found[j]) == pytest.approx(float((y - x[:, rest] @ solution).square().sum()), rel=1e-3)


@pytest.mark.parametrize(("name", "power"), [("taylor", 1), ("taylor-squared", 2)])
def test_taylor(task, name, power):
    found = parse_score(name).elements(task)["2.weight"]
    each = [(gradient(task, [b])["2.weight"] * task.parameter("2.weight")).abs() ** power for b in task.batches]
    torch.testing.assert_close(found, torch.stack(each).mean(0))


def test_snip_sums_to_one_and_follows_the_mean_gradient(task):
    found = parse_score("snip").elements(task)
    assert float(sum(each.sum() for each in found.values())) == pytest.approx(1, rel=1e-5)
    mean = gradient(task, task.batches)
    product = (mean["0.weight"] * task.parameter("0.weight")).abs()
    torch.testing.assert_close(found["0.weight"] / found["0.weight"].sum(), (product / product.sum()).detach())


def test_grasp_on_a_quadratic():
    """Loss 1/2 w^T H w has gradient H w, so the score is w (H H w)."""
    model = nn.Sequential(nn.Linear(2, 1, bias=False)).double()
    w, h = torch.tensor([1.0, 0.1]).double(), torch.tensor([[2.0, 1], [1, 2]]).double()
    model[0].weight.data = w[None]
    root = torch.linalg.cholesky(h)
    task = Task(model, find_weights(model), [Batch((root.T,))], lambda y, _: y.square().sum() / 2)
    found = parse_score("grasp").elements(task)["0.weight"]
    torch.testing.assert_close(found, (w * (h @ h @ w))[None].float())


def test_obd(task):
    squares = [gradient(task, [batch])["0.weight"].square() for batch in task.batches]
    expected = torch.stack(squares).mean(0) * task.parameter("0.weight").detach().square() / 2
    torch.testing.assert_close(parse_score("obd").elements(task)["0.weight"], expected)


def test_woodbury_is_the_direct_inverse():
    gradients = torch.randn(7, 2, 4)
    inverted = (torch.eye(4) / 0.1).repeat(2, 1, 1)
    for each in gradients:
        woodbury(inverted, each, 7)
    for block in range(2):
        g = gradients[:, block].double()
        direct = torch.linalg.inv(0.1 * torch.eye(4).double() + g.T @ g / 7)
        torch.testing.assert_close(inverted[block].double(), direct, rtol=1e-3, atol=1e-3)


def test_the_surgeon_on_two_variables():
    """survey, test vector 2: removing w_2 = 0.1 of w = (1, 0.1) under H = [[2, 1], [1, 2]] sets w_1 to 1.05."""
    inverted = torch.linalg.inv(torch.tensor([[2.0, 1], [1, 2]]))[None]
    w = torch.tensor([[1.0, 0.1]])
    new = surgeon(w, inverted, torch.tensor([[True, False]]))
    torch.testing.assert_close(new, torch.tensor([[1.05, 0.0]]))
    assert float(w[0, 1] ** 2 / (2 * inverted[0, 1, 1])) == pytest.approx(0.0075)


def test_the_surgeon_removes_several_weights_jointly():
    """The joint step is the minimum of the quadratic over the weights that stay."""
    root = torch.randn(5, 5, dtype=torch.float64)
    h = root @ root.T + torch.eye(5)
    w, mask = torch.randn(1, 5, dtype=torch.float64), torch.tensor([[True, False, True, False, True]])
    found = surgeon(w.float(), torch.linalg.inv(h)[None].float(), mask)[0].double()
    kept, gone = mask[0], ~mask[0]
    expected = w[0, kept] + torch.linalg.solve(h[kept][:, kept], h[kept][:, gone] @ w[0, gone])
    torch.testing.assert_close(found[kept], expected, rtol=1e-3, atol=1e-4)


def test_woodfisher_scores_by_the_inverse_of_the_fisher_matrix(task):
    score = WoodFisher(block=30, damping=0.1)
    g = torch.stack([gradient(task, [batch])["0.weight"].flatten() for batch in task.batches]).double()
    inverted = torch.linalg.inv(0.1 * torch.eye(30).double() + g.T @ g / 3)
    expected = task.parameter("0.weight").detach().double().flatten() ** 2 / (2 * inverted.diagonal())
    found = score.elements(task)["0.weight"].double().flatten()
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-4)


def test_blocks_of_weights_are_filled_up():
    assert in_blocks(torch.ones(2, 5), 4).sum(1).tolist() == [4, 4, 2]


def gram(columns, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(200, columns, generator=generator) @ torch.randn(columns, columns, generator=generator)
    return mixed, mixed.T @ mixed


def test_sparsegpt_on_two_variables():
    """As the surgeon, but an update reaches later columns only: w_1 = 0.1 goes, w_2 takes it up."""
    h = torch.tensor([[2.0, 1], [1, 2]]).double()
    new, mask = sweep(torch.tensor([[0.1, 1.0]]), torch.linalg.inv(h), Block(), 0.5)
    assert mask.tolist() == [[False, True]]
    torch.testing.assert_close(new, torch.tensor([[0.0, 1.05]]))


@pytest.mark.parametrize("columns", [3, 8, 128])
def test_each_update_is_optimal_for_the_columns_to_come(columns):
    """With the mask given, rows are solved in order: column j is zeroed and j+1.. refitted, whatever the blocking."""
    x, h = gram(8)
    w, mask = torch.randn(3, 8), torch.rand(3, 8) > 0.5
    found = refit(w, torch.linalg.inv(h.double()), mask, columns)
    for row in range(3):
        current = w[row].double()
        for j in range(8):
            if not mask[row, j]:
                later = list(range(j + 1, 8))
                fit = torch.linalg.lstsq(x[:, later].double(), (x[:, j].double() * current[j])[:, None]).solution
                current[later] += fit.flatten() if later else 0
                current[j] = 0
        torch.testing.assert_close(found[row].double(), current, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("pattern", [Block(), NM(2, 4), NM(4, 8), Block(4, 1), Block(2, 2)])
def test_sparsegpt_beats_its_own_mask_without_update(pattern):
    x, h = gram(64)
    w = torch.randn(16, 64)
    new, mask = sweep(w, torch.linalg.inv(h.double()), pattern, 0.5, columns=16)
    assert torch.equal(new != 0, mask & (new != 0))
    assert float(mask.float().mean()) == 0.5
    assert not pattern.mask(mask.float(), 0.5).logical_xor(mask).any(), "zeros stand outside of the pattern"
    y = x @ w.T
    assert (y - x @ new.T).norm() < 0.9 * (y - x @ (w * mask).T).norm()


def test_sparsegpt_in_parts_prunes_later_layers_on_pruned_inputs(task):
    together = {n: m for n, m, _ in SparseGPT().solve(task, Block(), dict.fromkeys(task.weights, 0.5))}
    apart = {}
    for name, matrix, _ in SparseGPT(limit=1).solve(task, Block(), dict.fromkeys(task.weights, 0.5)):
        apart[name] = matrix
        task.write(name, matrix)
    assert torch.equal(together["0.weight"], apart["0.weight"])
    assert not torch.equal(together["2.weight"], apart["2.weight"])


def test_synflow_is_the_product_of_paths():
    """One path a weight of the second layer: the score of a weight is the sum over its paths of all |w| on them."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    model[0].weight.data = torch.tensor([[1.0, -2], [3, 4]])
    model[2].weight.data = torch.tensor([[-5.0, 6]])
    task = Task(model, find_weights(model), [Batch((torch.randn(1, 2),))], density=1.0)
    found = SynFlow(rounds=1).elements(task)
    assert found["0.weight"].tolist() == [[5, 10], [18, 24]]
    assert found["2.weight"].tolist() == [[15, 42]]


def test_synflow_needs_no_data_and_leaves_no_layer_empty():
    torch.manual_seed(0)
    model = nn.Sequential(*[m for _ in range(4) for m in (nn.Linear(100, 100), nn.ReLU())]).eval()
    found = [
        SynFlow(rounds=30).elements(Task(model, find_weights(model), [Batch((x,))], density=0.001))
        for x in (torch.zeros(1, 100), torch.randn(1, 100))
    ]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert all(bool((each > 0).any()) for each in found[0].values())


@pytest.mark.parametrize("name", SCORES)
def test_scores_leave_the_model_as_it_was(task, name):
    before = {key: value.clone() for key, value in task.module.state_dict().items()}
    flags = [p.requires_grad for p in task.module.parameters()]
    found = parse_score(name).elements(task)
    assert {key: tuple(value.shape) for key, value in found.items()} == {"0.weight": (5, 6), "2.weight": (3, 5)}
    assert all(torch.equal(value, before[key]) for key, value in task.module.state_dict().items())
    assert flags == [p.requires_grad for p in task.module.parameters()]
    assert all(p.grad is None for p in task.module.parameters())


@pytest.mark.parametrize("loss", [lambda y, t: y, lambda y, t: y.sum() * float("nan"), lambda y, t: torch.tensor(1.0)])
def test_a_loss_that_is_none(task, loss):
    with pytest.raises(PruneError, match="loss"):
        parse_score("taylor").elements(Task(task.module, task.weights, task.batches, loss))


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(PruneError, match="sparsegpt"):
        parse_score("importance")

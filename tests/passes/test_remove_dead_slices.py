"""Removal: what a network computes stays, what is dead goes."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.removal import remove
from benchmarks.structured import GROUPS
from sparsecomp.capture import capture
from sparsecomp.passes.remove_dead_slices import RemoveDeadSlices
from sparsecomp.program import relative_error
from tests.passes.random_networks import random_network
from tests.passes.removal_helpers import EXACT, Chain, aten, kill, removed, shapes


def test_dead_neurons_go_and_their_constants_move_into_the_bias() -> None:
    model = Chain(nn.Linear(6, 8), nn.Linear(8, 3), act=torch.sigmoid)
    kill(model.layers[0], [1, 4, 5], bias=0.7)
    assert shapes(removed(model, torch.randn(4, 6)), aten.linear.default) == [(5, 6), (3, 5)]


def test_a_bias_is_made_where_there_was_none() -> None:
    model = Chain(nn.Linear(6, 8), nn.Linear(8, 3, bias=False), act=torch.sigmoid)
    kill(model.layers[0], [1, 4, 5])
    program = removed(model, torch.randn(4, 6))
    assert [len(node.args) for node in program.calls(aten.linear.default)] == [3, 3]


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("dynamic", [False, True])
def test_a_constant_channel_that_meets_zero_padding_leaves_a_border_map(padding: int, dynamic: bool) -> None:
    model = Chain(nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 3, padding=padding, stride=2))
    kill(model.layers[0], [0, 2], bias=0.9)
    program = removed(model, torch.randn(2, 3, 8, 8), dynamic=dynamic)
    assert shapes(program, aten.conv2d.default) == [(4, 3, 3, 3), (4, 4, 3, 3)]
    assert len(list(program.calls(aten.add.Tensor))) == padding


def test_a_depthwise_channel_that_goes_leaves_no_border_map() -> None:
    depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
    model = Chain(nn.Conv2d(3, 6, 1), depthwise, nn.Conv2d(6, 4, 1))
    kill(model.layers[0], [0, 2], bias=0.9)
    with torch.no_grad():
        model.layers[2].weight[:, [0, 2]] = 0
    program = removed(model, torch.randn(2, 3, 8, 8))
    assert shapes(program, aten.conv2d.default) == [(4, 3, 1, 1), (4, 1, 3, 3), (4, 4, 1, 1)]
    assert not list(program.calls(aten.add.Tensor))


def test_a_constant_channel_under_padding_of_unknown_size_stays() -> None:
    model = Chain(nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 3, padding=1), nn.Conv2d(4, 2, 1)).eval()
    kill(model.layers[0], [0, 2], bias=0.9)
    size = torch.export.Dim("size", min=4, max=64)
    program = capture(model, (torch.randn(1, 3, 8, 8),), dynamic_shapes=({2: size, 3: size},))
    RemoveDeadSlices().apply(program)
    assert shapes(program, aten.conv2d.default)[0] == (5, 3, 3, 3), "two equal constants become one"
    x = torch.randn(1, 3, 12, 12)
    assert relative_error(program(x), model(x)) < EXACT


@pytest.mark.parametrize("fold", [False, True])
def test_a_beta_that_is_alive_is_a_constant_that_moves_on(fold: bool) -> None:
    """Filters and gamma are zero, beta is not: relu(beta) goes through the padded convolution, pooling and the head."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
            self.two, self.head = nn.Conv2d(6, 8, 3, padding=1), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = F.gelu(self.two(F.relu(self.norm(self.one(x)))))
            return self.head(F.max_pool2d(y, 2).mean((2, 3)))

    model = Network()
    with torch.no_grad():
        model.norm.running_mean.normal_()
        model.norm.bias.fill_(0.4)
        model.norm.weight[[1, 4]] = 0.0
    kill(model.one, [1, 4], bias=0.3)
    kill(model.two, [0, 2, 3], bias=-0.6)
    program = removed(model, torch.randn(2, 3, 8, 8), fold=fold)
    assert shapes(program, aten.conv2d.default) == [(4, 3, 3, 3), (5, 4, 3, 3)]
    assert shapes(program, aten.linear.default) == [(2, 5)]


def test_tied_weights_stay_tied() -> None:
    """One table makes the tokens and the logits; a column that is dead in both goes once."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.inner = nn.Embedding(20, 8), nn.Linear(8, 8)

        def forward(self, tokens: Tensor) -> Tensor:
            return torch.relu(self.inner(self.table(tokens))) @ self.table.weight.t()

    model = Tied()
    model.table.weight.data[:, [2, 5]] = 0.0
    kill(model.inner, [2, 5])
    program = removed(model, torch.arange(6)[None])
    tables = [node.args for node in program.calls(aten.embedding.default, aten.linear.default, aten.permute.default)]
    assert sorted(tuple(data.shape) for data in program.weights().values()) == [(6,), (6, 6), (20, 6)]
    assert len({arg.target for args in tables for arg in args if program.is_weight(arg)}) == 3


def test_equal_filters_are_computed_once() -> None:
    model = Chain(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3))
    model.layers[0].weight.data[3:5] = model.layers[0].weight.data[1]
    model.layers[0].bias.data[3:5] = model.layers[0].bias.data[1]
    program = removed(model, torch.randn(2, 3, 8, 8))
    assert shapes(program, aten.conv2d.default) == [(4, 3, 3, 3), (4, 4, 3, 3)]


def test_heads_go_and_head_counts_are_rewritten() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v, self.o = (nn.Linear(12, 12) for _ in range(4))

        def forward(self, x: Tensor) -> Tensor:
            b, s, _ = x.shape
            q, k, v = (layer(x).view(b, s, 4, 3).transpose(1, 2) for layer in (self.q, self.k, self.v))
            scores = torch.softmax(q @ k.transpose(2, 3) / 3**0.5, -1)
            return self.o((scores @ v).transpose(1, 2).reshape(b, s, 12))

    model = Attention()
    kill(model.v, [3, 4, 5, 9, 10, 11])
    program = removed(model, torch.randn(2, 5, 12), dynamic=True)
    assert shapes(program, aten.linear.default) == [(6, 12), (6, 12), (6, 12), (12, 6)]


def test_grouped_convolution_loses_groups() -> None:
    model = Chain(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 3, groups=4), nn.Conv2d(16, 2, 1))
    kill(model.layers[0], [2, 3])
    kill(model.layers[1], [4, 5, 6, 7])
    program = removed(model, torch.randn(2, 3, 6, 6))
    assert shapes(program, aten.conv2d.default) == [(6, 3, 1, 1), (12, 2, 3, 3), (2, 12, 1, 1)]


def test_channels_that_are_shuffled_and_split_go() -> None:
    class Split(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.step, self.leave = nn.Conv2d(3, 8, 1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(12, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            one, other = self.enter(x).chunk(2, 1)
            return self.leave(torch.cat((one, other, self.step(other)), 1))

    model = Split()
    kill(model.enter, [0, 1, 2, 3, 5])
    kill(model.step, [1, 2])
    program = removed(model, torch.randn(2, 3, 6, 6))
    assert shapes(program, aten.conv2d.default) == [(3, 3, 1, 1), (2, 3, 3, 3), (2, 5, 1, 1)]
    assert [len(node.args[0]) for node in program.calls(aten.cat.default)] == [2]


def test_a_padded_tensor_of_which_only_the_padding_is_read_keeps_a_slice() -> None:
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.leave = nn.Conv2d(3, 4, 1), nn.Conv2d(6, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.leave(F.pad(F.relu(self.enter(x)), (0, 0, 0, 0, 1, 1), value=0.5))

    model = Padded()
    model.leave.weight.data[:, 1:5] = 0.0
    removed(model, torch.randn(2, 3, 4, 4))


def test_tensors_without_elements_are_left_alone() -> None:
    class Empty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.two(torch.relu(self.one(x))[:0].mean(0))

    model = Empty().eval()
    kill(model.one, [1])
    program = capture(model, (torch.randn(4, 6),))
    RemoveDeadSlices().apply(program)
    assert program(torch.randn(4, 6)).isnan().all()


def test_infinite_weights_are_left_alone() -> None:
    model = Chain(nn.Linear(6, 8), nn.Linear(8, 3))
    kill(model.layers[0], [1])
    model.layers[1].weight.data[0, 1] = float("inf")
    program = capture(model.eval(), (torch.randn(4, 6),))
    expected = program(*program.args)
    RemoveDeadSlices().apply(program)
    torch.testing.assert_close(program(*program.args), expected, equal_nan=True)
    assert expected.isnan().any()


@pytest.mark.parametrize(
    "share", [pytest.param(0.3, marks=pytest.mark.slow), 0.5, pytest.param(0.7, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", GROUPS)
def test_whatever_can_go_goes_from_real_networks(name: str, share: float) -> None:
    found = remove(name, share, full=False)
    assert found.zero > 0
    assert found.removed >= 0.99 * found.zero
    assert found.parameters == pytest.approx(found.live_parameters, rel=0.01)
    assert found.macs == pytest.approx(found.live_macs, rel=0.01)
    assert found.error < EXACT


@pytest.mark.parametrize("seed", range(40))
def test_random_networks_compute_the_same(seed: int) -> None:
    torch.manual_seed(seed)
    removed(random_network(seed), torch.randn(2, 3, 6, 6), fold=seed % 2 == 0, dynamic=seed % 3 == 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40, 400))
def test_many_random_networks_compute_the_same(seed: int) -> None:
    test_random_networks_compute_the_same(seed)

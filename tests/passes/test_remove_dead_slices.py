"""Removal: what a network computes stays, what is dead goes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsecomp.capture import capture
from sparsecomp.passes import Canonicalize, EliminateDead, FoldBatchNorm, FoldConstants
from sparsecomp.passes.remove_dead_slices import RemoveDeadSlices
from sparsecomp.passes.what_stays import what_stays
from sparsecomp.program import Program, relative_error
from tests.passes.random_networks import random_network

aten = torch.ops.aten
EXACT = 1e-5
DYNAMIC_BATCH = ({0: torch.export.Dim("batch", min=2, max=64)},)
BEFORE = (Canonicalize(), FoldConstants(), FoldBatchNorm(), EliminateDead())


def removed(model: nn.Module, *args: Tensor, fold: bool = True, dynamic: bool = False) -> Program:
    """The captured model after removal; its outputs have been compared with the model's."""
    program = capture(model.eval(), args, dynamic_shapes=DYNAMIC_BATCH if dynamic else None)
    for each in BEFORE if fold else (BEFORE[0], BEFORE[-1]):
        each.apply(program)
        program.finish()
    RemoveDeadSlices().apply(program)
    with torch.no_grad():
        assert relative_error(program(*args), model(*args)) < EXACT
        if dynamic:
            more = torch.cat((args[0], -args[0]))
            assert relative_error(program(more), model(more)) < EXACT
    assert not RemoveDeadSlices().apply(program), "a second run finds more"
    for name, data in program.weights().items():
        assert 0 not in data.shape, name
    return program


def kill(layer: nn.Module, rows: list[int], bias: float = 0.0) -> None:
    """Zero the weights of some output channels; their bias becomes ``bias``."""
    layer.weight.data[rows] = 0.0
    layer.bias.data[rows] = bias


def shapes(program: Program, *targets: object) -> list[tuple[int, ...]]:
    """Weight shapes of the calls of these operators, in order."""
    return [tuple(program.weight(node.args[1]).shape) for node in program.calls(*targets)]


class Chain(nn.Module):
    """Layers with an activation between them."""

    def __init__(self, *layers: nn.Module, act: Callable[[Tensor], Tensor] = F.relu) -> None:
        super().__init__()
        self.layers, self.act = nn.ModuleList(layers), act

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = self.act(layer(x))
        return self.layers[-1](x)


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


def test_a_constant_channel_under_padding_of_unknown_size_stays() -> None:
    model = Chain(nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 3, padding=1), nn.Conv2d(4, 2, 1)).eval()
    kill(model.layers[0], [0, 2], bias=0.9)
    size = torch.export.Dim("size", min=4, max=64)
    program = capture(model, (torch.randn(1, 3, 8, 8),), dynamic_shapes=({2: size, 3: size},))
    RemoveDeadSlices().apply(program)
    assert shapes(program, aten.conv2d.default)[0] == (5, 3, 3, 3), "two equal constants become one"
    x = torch.randn(1, 3, 12, 12)
    assert relative_error(program(x), model(x)) < EXACT


def test_equal_filters_are_computed_once() -> None:
    model = Chain(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3))
    model.layers[0].weight.data[3:5] = model.layers[0].weight.data[1]
    model.layers[0].bias.data[3:5] = model.layers[0].bias.data[1]
    program = removed(model, torch.randn(2, 3, 8, 8))
    assert shapes(program, aten.conv2d.default) == [(4, 3, 3, 3), (4, 4, 3, 3)]


def test_a_residual_branch_that_is_zero_disappears() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = (
                nn.Conv2d(4, 4, 3, padding=1),
                nn.Conv2d(4, 4, 3, padding=1),
                nn.Conv2d(4, 2, 1),
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.exp(x) + self.two(F.relu(self.one(x))))

    model = Residual()
    kill(model.two, [0, 1, 2, 3])
    program = removed(model, torch.randn(2, 4, 6, 6), dynamic=True)
    assert [str(node.target) for node in program.calls()] == ["aten.exp.default", "aten.conv2d.default"]


def test_a_network_whose_output_is_constant_is_a_constant() -> None:
    model = Chain(nn.Linear(6, 8), nn.Linear(8, 3))
    kill(model.layers[1], [0, 1, 2], bias=0.3)
    program = removed(model, torch.randn(4, 6), dynamic=True)
    assert not list(program.calls(aten.linear.default))


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


def test_tied_weights_stay_tied() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(9, 6)
            self.head = nn.Linear(6, 9, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(torch.tanh(self.embedding(tokens)))

    model = Tied()
    model.embedding.weight.data[:, [0, 3]] = 0.0
    program = removed(model, torch.tensor([[1, 2, 3]]))
    assert [tuple(data.shape) for data in program.weights().values()] == [(9, 4)]


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


def test_infinite_weights_are_left_alone() -> None:
    model = Chain(nn.Linear(6, 8), nn.Linear(8, 3))
    kill(model.layers[0], [1])
    model.layers[1].weight.data[0, 1] = float("inf")
    program = capture(model.eval(), (torch.randn(4, 6),))
    expected = program(*program.args)
    RemoveDeadSlices().apply(program)
    torch.testing.assert_close(program(*program.args), expected, equal_nan=True)
    assert expected.isnan().any()


@torch.library.custom_op("sparsecomp_test::scramble", mutates_args=())
def scramble(x: Tensor) -> Tensor:
    return x.flip(1) + x.sum(1, keepdim=True)


@scramble.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def test_an_operator_without_a_rule_keeps_what_it_touches_and_is_named() -> None:
    class Custom(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.three = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.three(scramble(self.two(F.relu(self.one(x)))))

    model = Custom()
    kill(model.one, [0, 1])
    kill(model.two, [2, 3])
    program = removed(model, torch.randn(4, 6))
    assert shapes(program, aten.linear.default) == [(6, 6), (8, 6), (2, 8)]
    (staying,) = [each for each in what_stays(program) if each.idle]
    assert (staying.idle, staying.slices) == (2, 8)
    assert "sparsecomp_test.scramble.default, an operator without a rule" in staying.reasons[0][0]


def test_a_dead_channel_next_to_a_live_one_stays_and_the_reason_is_the_live_one() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.one(x) + self.two(x))

    model = Residual()
    kill(model.one, [1])
    (staying,) = what_stays(removed(model, torch.randn(2, 3, 4, 4)))
    assert (staying.tensor, staying.axis, staying.idle) == ("conv2d", 1, 1)
    assert staying.reasons == (("coupled with a live slice: conv2d_2 reads it", 1),)


def test_parameters_can_still_be_trained_and_the_model_is_untouched() -> None:
    model = Chain(nn.Linear(6, 8), nn.Linear(8, 3))
    kill(model.layers[0], [1, 4, 5])
    program = removed(model, torch.randn(4, 6))
    assert tuple(model.layers[0].weight.shape) == (8, 6)
    program.module(torch.randn(4, 6)).sum().backward()
    gradients = [p.grad for p in program.module.parameters()]
    assert gradients
    assert all(gradient is not None for gradient in gradients)


@pytest.mark.parametrize("seed", range(40))
def test_random_networks_compute_the_same(seed: int) -> None:
    torch.manual_seed(seed)
    removed(random_network(seed), torch.randn(2, 3, 6, 6), fold=seed % 2 == 0, dynamic=seed % 3 == 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40, 400))
def test_many_random_networks_compute_the_same(seed: int) -> None:
    test_random_networks_compute_the_same(seed)

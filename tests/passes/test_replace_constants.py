import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.passes.removal_helpers import Chain, aten, kill, removed


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


def test_what_a_constant_is_multiplied_with_is_computed_once() -> None:
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.head = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True))))

    model = Gate()
    kill(model.gate, [0, 1, 2, 3], bias=0.4)
    program = removed(model, torch.randn(2, 4, 6, 6), dynamic=True)
    assert [str(node.target) for node in program.calls()] == ["aten.mul.Tensor", "aten.conv2d.default"]


def test_a_constant_that_is_read_in_its_full_shape_is_expanded() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(4, 6)

        def forward(self, x: Tensor) -> Tensor:
            return torch.sort(F.relu(self.one(x)), dim=1).values + x[:, :1]

    model = Heads()
    kill(model.one, [0, 1, 2, 3, 4, 5], bias=0.4)
    program = removed(model, torch.randn(3, 4), dynamic=True)
    assert not list(program.calls(aten.linear.default))

import torch
from torch import Tensor, nn

from tests.passes.removal_helpers import Chain, aten, kill, removed, shapes


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


def test_parameters_can_still_be_trained_and_the_model_is_untouched() -> None:
    model = Chain(nn.Linear(6, 8), nn.Linear(8, 3))
    kill(model.layers[0], [1, 4, 5])
    program = removed(model, torch.randn(4, 6))
    assert tuple(model.layers[0].weight.shape) == (8, 6)
    program.module(torch.randn(4, 6)).sum().backward()
    gradients = [p.grad for p in program.module.parameters()]
    assert gradients
    assert all(gradient is not None for gradient in gradients)


def test_every_value_carries_its_new_shape_and_symbolic_sizes_stay() -> None:
    model = Chain(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3))
    kill(model.layers[0], [0, 2])
    program = removed(model, torch.randn(2, 3, 8, 8), dynamic=True)
    assert shapes(program, aten.conv2d.default)[0] == (4, 3, 3, 3)
    found = [node.meta["val"].shape for node in program.calls()]
    assert [shape[1] for shape in found] == [4, 4, 4]
    assert not any(isinstance(shape[0], int) for shape in found)

"""What the tests of removal share: capture, remove, compare."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsecomp.capture import capture
from sparsecomp.passes import Canonicalize, EliminateDead, FoldBatchNorm, FoldConstants
from sparsecomp.passes.remove_dead_slices import RemoveDeadSlices
from sparsecomp.program import Program, relative_error

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

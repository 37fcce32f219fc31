"""Small models, captured programs, and what tests ask of them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from sparsecomp.capture import capture
from sparsecomp.passes import Pass
from sparsecomp.program import Program


class Net(nn.Module):
    """A function of itself and its inputs; its parts are attributes."""

    def __init__(self, function: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)
        seed(self)

    def forward(self, *inputs: Any) -> Any:
        return self.function(self, *inputs)


def seed(model: nn.Module) -> None:
    """Parameters and running statistics that no test can mistake for zeros and ones."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point():
            tensor.data.copy_(torch.randn(tensor.shape, generator=generator) * 0.5)
            if name.endswith("running_var"):
                tensor.abs_().add_(0.5)


def net(function: Callable[..., Any], **parts: Any) -> nn.Module:
    return Net(function, **parts).eval()


def tensor(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def program(function: Callable[..., Any], *inputs: Any, dynamic: Any = None, **parts: Any) -> Program:
    """A captured program; ``dynamic`` describes the inputs, one entry each."""
    shapes = None if dynamic is None else {"inputs": dynamic}
    return capture(net(function, **parts), inputs, None, shapes)


def operators(program: Program) -> list[str]:
    """The operators in order, those of aten without namespace: ``["relu.default", "sparsecomp.conv.default"]``."""
    return [str(node.target).removeprefix("aten.") for node in program.calls()]


def rewrite(program: Program, *passes: Pass) -> list[bool]:
    """Apply passes and return their answers: outputs stay, the graph is valid, the last finds nothing left to do."""
    reference = program.example_outputs()
    answers = []
    for pass_ in passes:
        answers.append(pass_.apply(program))
        program.finish()
        assert_close(program.example_outputs(), reference)
        if pass_ is passes[-1]:
            assert not pass_.apply(program), "a second application changes something again"
    return answers


def assert_close(outputs: Any, expected: Any, tolerance: float = 1e-5) -> None:
    """Same structure, shapes and dtypes; every value within ``tolerance`` of the largest of its tensor."""
    found, structure = pytree.tree_flatten(outputs)
    wanted, wanted_structure = pytree.tree_flatten(expected)
    assert structure == wanted_structure
    for y, ref in zip(found, wanted, strict=True):
        if isinstance(ref, torch.Tensor):
            scale = float(ref.abs().max()) if ref.is_floating_point() and ref.numel() else 1.0
            torch.testing.assert_close(y, ref, rtol=0, atol=tolerance * max(scale, 1e-30))
        else:
            assert y == ref

"""What a zoo entry is, and how its weights are made: seeded, and no parameter left at a value that hides mistakes."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

BATCH = torch.export.Dim("batch", min=1, max=64)


@dataclass(frozen=True)
class Inputs:
    """What a model is called with: ``model(*args, **kwargs)``."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """A network at one size, with inputs to run it on.

    Attributes:
        name: what the command lines call it.
        build: makes the network, in eval mode; the same weights at every call.
        sample: ``sample(batch, length)`` makes seeded inputs; models without a sequence ignore ``length``.
        length: the sequence length that the size stands for, 0 for models without one.
        dynamic_shapes: as ``torch.export`` takes it, or None for a model whose shapes are fixed.
    """

    name: str
    build: Callable[[], nn.Module]
    sample: Callable[[int, int], Inputs]
    length: int = 0
    dynamic_shapes: dict[str, Any] | None = None

    def inputs(self, batch: int = 1, length: int | None = None) -> Inputs:
        """Seeded inputs of a batch of ``batch``; ``length`` None is the model's own."""
        return self.sample(batch, self.length if length is None else length)


@torch.no_grad()
def seeded(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter and BatchNorm statistic of ``model`` a random value that keeps signals in range; eval mode.

    The defaults (biases 0, scales 1, running statistics 0 and 1) would let a wrong fold pass a comparison.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        parameter.copy_(_parameter(name, parameter, generator))
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
        elif name.endswith("running_var"):
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return model.eval()


def _parameter(name: str, like: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(like.shape, generator=generator)
    if like.ndim < 2:
        return 0.1 * noise if "bias" in name else 1 + 0.1 * noise
    fan_in = like[0].numel()
    return math.sqrt((2.0 if like.ndim > 2 else 1.0) / fan_in) * noise


def image(channels: int, side: int) -> Callable[[int, int], Inputs]:
    """Sampler of normal noise images, as the one positional input."""

    def sample(batch: int, _length: int) -> Inputs:
        return Inputs((torch.randn(batch, channels, side, side, generator=torch.Generator().manual_seed(1)),))

    return sample

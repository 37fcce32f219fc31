"""What is left to compute once dead channels are gone, found without the compiler: by looking at a network that runs.

An input channel of a layer that is one number for all samples and positions costs nothing: it belongs into the bias. A
result channel whose weights are zero costs nothing either. The rest has to be computed. ReLU is made leaky for the
count: a channel that merely these inputs never switch on is not dead.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers.pytorch_utils import Conv1D

from benchmarks.zoo import Inputs

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
_SWITCHES = ("relu", "relu_", "relu6", "hardtanh", "hardtanh_")
_LAYERS = (nn.Linear, Conv1D, nn.ConvTranspose2d, *_CONVOLUTIONS)


@dataclass
class Work:
    """Parameters and multiply-adds of linear layers and convolutions; ``live`` ones have to be there."""

    parameters: int = 0
    live_parameters: int = 0
    macs: int = 0
    live_macs: int = 0


@torch.no_grad()
def live_work(network: nn.Module, inputs: Inputs) -> Work:
    """Run the network once and count. ``inputs`` hold two samples or more, which differ."""
    work = Work()
    with _watched(network, work), _Leaky():
        network(*inputs.args, **inputs.kwargs)
    return work


class _Leaky(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        return torch.where(args[0] > 0, 1.0, 0.5) * args[0] if name in _SWITCHES else func(*args, **(kwargs or {}))


@contextmanager
def _watched(network: nn.Module, work: Work) -> Iterator[None]:
    def count(module: nn.Module, given: Any, result: Tensor) -> None:
        _count(work, module, given[0], result)

    handles = [module.register_forward_hook(count) for module in network.modules() if isinstance(module, _LAYERS)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _count(work: Work, module: Any, source: Tensor, result: Tensor) -> None:
    axis = -1 if isinstance(module, nn.Linear | Conv1D) else 1
    weight = _results_first(module)
    live = (weight.flatten(1) != 0).any(dim=1)
    rows = source.movedim(axis, 0).flatten(1)
    varies = rows.amax(dim=1) != rows.amin(dim=1)
    positions = (source if isinstance(module, nn.ConvTranspose2d) else result).movedim(axis, 0)[0].numel()
    taps = weight[0, 0].numel()
    pairs = live[:, None] & _inputs_of(module, varies)
    work.parameters += weight.numel()
    work.live_parameters += int(pairs.sum()) * taps
    work.macs += weight.numel() * positions
    work.live_macs += int(pairs.sum()) * taps * positions


def _results_first(module: Any) -> Tensor:
    weight: Tensor = module.weight
    return weight.transpose(0, 1) if isinstance(module, Conv1D | nn.ConvTranspose2d) else weight


def _inputs_of(module: Any, varies: Tensor) -> Tensor:
    """For each result channel (or all) and each input channel of its group whether the latter varies."""
    groups = getattr(module, "groups", 1)
    by_group = varies.reshape(groups, -1)
    return by_group.repeat_interleave(module.weight.shape[0] // groups, dim=0) if groups > 1 else by_group

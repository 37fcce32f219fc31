"""The zeros of the benchmarks: every weight tensor alike, the smallest magnitudes first, no structure."""

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

_LINEAR = (nn.Linear, Conv1D, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def keep_mask(weight: Tensor, sparsity: float) -> Tensor:
    """True for the entries that stay: all but the ``round(sparsity * n)`` of smallest magnitude.

    Raises:
        ValueError: ``sparsity`` is not in [0, 1].
    """
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity is a fraction from 0 to 1, not {sparsity}")
    dropped = weight.abs().flatten().argsort(stable=True)[: round(sparsity * weight.numel())]
    mask = torch.ones(weight.numel(), dtype=torch.bool)
    mask[dropped] = False
    return mask.view(weight.shape)


def prunable(network: nn.Module) -> dict[str, nn.Parameter]:
    """Weights of every linear layer and ungrouped convolution but the first; none that an embedding shares."""
    shared = {id(module.weight) for module in network.modules() if isinstance(module, nn.Embedding)}
    found = {
        name: module.weight
        for name, module in network.named_modules()
        if isinstance(module, _LINEAR) and getattr(module, "groups", 1) == 1 and id(module.weight) not in shared
    }
    return dict(list(found.items())[1:])


@torch.no_grad()
def prune_magnitude(network: nn.Module, sparsity: float) -> float:
    """Write zeros into ``network``; returns the fraction of zeros over all weights that could have been pruned."""
    weights = prunable(network).values()
    for weight in weights:
        weight.mul_(keep_mask(weight, sparsity))
    total = sum(weight.numel() for weight in weights)
    return sum(int((weight == 0).sum()) for weight in weights) / total if total else 0.0

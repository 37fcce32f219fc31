"""Calibration data as a list of calls of the model."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sparsecomp.errors import PruneError

Loss = Callable[[Any, Any], Tensor]
"""From the outputs of the model and the target of the batch (None if it has none) to a scalar."""


@dataclass(frozen=True)
class Batch:
    """One call of the model, and what the loss compares its outputs with."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    target: Any = None

    def run(self, model: nn.Module) -> Any:
        """The outputs of the model."""
        return model(*self.args, **self.kwargs)

    @property
    def tokens(self) -> int:
        """Elements of the first tensor."""
        return next((leaf.numel() for leaf in pytree.tree_leaves(self.args) if isinstance(leaf, Tensor)), 0)


def batch_of(item: Any) -> Batch:
    """A batch from a tuple of positional inputs, ``(args, kwargs)``, ``(args, kwargs, target)``, or one tensor.

    Raises:
        PruneError: it is none of these.
    """
    if isinstance(item, Batch):
        return item
    if isinstance(item, Tensor):
        return Batch((item,))
    if isinstance(item, dict):
        return Batch((), dict(item))
    if not isinstance(item, tuple | list):
        raise PruneError(
            "prune: an item of data is a tuple of the model's positional inputs, (args, kwargs) or "
            f"(args, kwargs, target), not {type(item).__name__}"
        )
    if len(item) in (2, 3) and isinstance(item[0], tuple | list) and isinstance(item[1], dict):
        return Batch(tuple(item[0]), dict(item[1]), item[2] if len(item) == 3 else None)
    return Batch(tuple(item))


def batches_of(data: Iterable[Any]) -> list[Batch]:
    """All calibration data.

    Raises:
        PruneError: there is none, or an item is no batch.
    """
    found = [batch_of(item) for item in data]
    if not found:
        raise PruneError("prune: data is empty; give an iterable of the model's positional inputs, such as [args]")
    return found


def outputs_of(result: Any) -> list[Tensor]:
    """The floating-point tensors that a model returned."""
    leaves = [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor)]
    leaves = leaves or [leaf for leaf in getattr(result, "values", list)() if isinstance(leaf, Tensor)]
    return [leaf for leaf in leaves if leaf.dtype.is_floating_point]


def projection_loss(seed: int = 0) -> Loss:
    """A loss for models without labels: the outputs, projected on a random direction of standard normal numbers.

    Its gradients ``g`` have ``E[g g^T] = J^T J``, the Gauss-Newton matrix of the squared distance to the model's own
    outputs (J is the Jacobian of the outputs): the curvature of the very error that pruning is to keep small.
    """
    generator = torch.Generator().manual_seed(seed)

    def loss(outputs: Any, _target: Any) -> Tensor:
        parts = [(y * torch.randn(y.shape, generator=generator)).sum() for y in outputs_of(outputs)]
        return torch.stack(parts).sum()

    return loss

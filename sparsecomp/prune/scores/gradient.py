"""First-order scores: how a loss changes with each weight."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sparsecomp.errors import PruneError
from sparsecomp.prune.data import Batch, projection_loss
from sparsecomp.prune.observe import run_batch
from sparsecomp.prune.scores.base import Score, Task


@contextmanager
def differentiable(module: nn.Module, parameters: list[nn.Parameter]) -> Iterator[None]:
    """Only these parameters record gradients, and attention is one that can be differentiated twice."""
    before = {parameter: parameter.requires_grad for parameter in module.parameters()}
    chosen = set(map(id, parameters))
    try:
        for parameter in before:
            parameter.requires_grad_(id(parameter) in chosen)
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        for parameter, flag in before.items():
            parameter.requires_grad_(flag)


def gradients(task: Task, batches: list[Batch], *, twice: bool = False) -> Iterator[list[Tensor]]:
    """For each batch the gradient of the loss by every weight of the task, in the parameters' shapes.

    Without a loss, that of `projection_loss`. With ``twice`` the gradients can be differentiated again.
    """
    parameters = [task.parameter(name) for name in task.weights]
    loss = task.loss or projection_loss()
    with differentiable(task.module, parameters):
        for batch in batches:
            value = loss(run_batch(task.module, batch), batch.target)
            _check_loss(value)
            found = torch.autograd.grad(value, parameters, create_graph=twice, allow_unused=True)
            yield [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def _check_loss(value: object) -> None:
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise PruneError("prune: loss must return one number as a tensor, from (outputs, target)")
    if not bool(torch.isfinite(value)):
        raise PruneError(f"prune: the loss is {value.item()} on an item of data")
    if not value.requires_grad:
        raise PruneError("prune: the loss does not depend on the weights; compute it from the outputs with torch")


def mean_gradient(task: Task) -> dict[str, Tensor]:
    """The gradient of the mean loss over the data."""
    total: dict[str, Tensor] = {}
    for found in gradients(task, task.batches):
        for name, gradient in zip(task.weights, found, strict=True):
            total[name] = total[name] + gradient if name in total else gradient
    return {name: gradient / len(task.batches) for name, gradient in total.items()}


@dataclass(frozen=True)
class Taylor(Score):
    """``|g w|`` (power 1) or ``(g w)^2`` (power 2), the mean over the batches of data.

    The change of the loss to first order when the weight goes; summed over a slice, the importance of a filter
    (Molchanov et al. 2017 and 2019; survey, section 3.4).
    """

    power: int = 1
    name: ClassVar[str] = "taylor"
    needs_data: ClassVar[bool] = True

    def elements(self, task: Task) -> dict[str, Tensor]:
        """See the class."""
        total = {name: torch.zeros_like(task.matrix(name)) for name in task.weights}
        for found in gradients(task, task.batches):
            for (name, weight), gradient in zip(task.weights.items(), found, strict=True):
                change = weight.matrix(gradient).float() * task.matrix(name)
                total[name] += change.abs() ** self.power / len(task.batches)
        return total


@dataclass(frozen=True)
class Snip(Score):
    """``|g w| / sum |g w|`` with the gradient g of the mean loss over all data (Lee et al. 2019, *SNIP*, eq. 6).

    Made for networks before training, where it may starve a layer at high sparsity (survey, section 3.4).
    """

    name: ClassVar[str] = "snip"
    needs_data: ClassVar[bool] = True
    needs_loss: ClassVar[bool] = True

    def elements(self, task: Task) -> dict[str, Tensor]:
        """See the class."""
        mean = mean_gradient(task)
        found = {name: (w.matrix(mean[name]).float() * task.matrix(name)).abs() for name, w in task.weights.items()}
        total = sum(float(each.sum()) for each in found.values())
        return {name: each / max(total, torch.finfo(torch.float32).tiny) for name, each in found.items()}


@dataclass(frozen=True)
class Grasp(Score):
    """``w (H g)``: zeroing a weight changes the squared norm of the gradient by about ``-2 w (H g)``.

    Weights whose removal makes gradients flow better go first, that is those with the smallest ``w (H g)`` (Wang et al.
    2020, *GraSP*, eq. 8, which ranks by the negative). H is the Hessian and g the gradient of the mean loss; H g is
    found by differentiating ``g . stop(g)``.
    """

    name: ClassVar[str] = "grasp"
    needs_data: ClassVar[bool] = True
    needs_loss: ClassVar[bool] = True

    def elements(self, task: Task) -> dict[str, Tensor]:
        """See the class."""
        mean = mean_gradient(task)
        parameters = [task.parameter(name) for name in task.weights]
        total = [torch.zeros_like(parameter) for parameter in parameters]
        for found in gradients(task, task.batches, twice=True):
            product = torch.stack([(g * mean[name]).sum() for name, g in zip(task.weights, found, strict=True)]).sum()
            if product.requires_grad:
                again = torch.autograd.grad(product, parameters, allow_unused=True)
                total = [t if h is None else t + h / len(task.batches) for t, h in zip(total, again, strict=True)]
        return {
            name: weight.matrix(h.detach()).float() * task.matrix(name)
            for (name, weight), h in zip(task.weights.items(), total, strict=True)
        }

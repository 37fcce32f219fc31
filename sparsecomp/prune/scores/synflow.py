"""SynFlow: scores from the flow through the network of absolute weights, without any data."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from sparsecomp.errors import PruneError
from sparsecomp.prune.data import Batch, outputs_of
from sparsecomp.prune.observe import run_batch
from sparsecomp.prune.patterns import keep_top
from sparsecomp.prune.scores.base import Score, Task
from sparsecomp.prune.scores.gradient import differentiable


@dataclass(frozen=True)
class SynFlow(Score):
    """``dR/dw * w`` with ``R = 1^T (prod |W_l|) 1``: the flow of an input of ones that passes a weight.

    Runs ``rounds`` times; after round k only the ``density ** (k / rounds)`` best weights of the network keep theirs,
    so that no layer is cut off (Tanaka et al. 2020, *Pruning neural networks without any data by iteratively conserving
    synaptic flow*, algorithm 1). The example inputs give shapes only.
    """

    rounds: int = 100
    name: ClassVar[str] = "synflow"

    def elements(self, task: Task) -> dict[str, Tensor]:
        """See the class.

        Raises:
            PruneError: an input of the model is no floating-point tensor, so it cannot be one everywhere.
        """
        batch = _ones(task.batches[0]) if task.batches else None
        if batch is None:
            raise PruneError("prune: synflow needs example inputs (args) for their shapes")
        flow = _Flow(task, batch)
        for k in range(1, self.rounds + 1):
            scores = flow.scores()
            flow.keep(scores, task.density ** (k / self.rounds))
        return {name: scores[name] * flow.masks[name] for name in task.weights}


class _Flow:
    """A copy of the model with absolute values in float64, and the masks so far."""

    def __init__(self, task: Task, batch: Batch) -> None:
        self.task, self.batch = task, batch
        self.module = copy.deepcopy(task.module).double().eval()
        with torch.no_grad():
            for tensor in (*self.module.parameters(), *self.module.buffers()):
                if tensor.dtype.is_floating_point:
                    tensor.abs_()
        self.parameters = {name: self.module.get_parameter(name) for name in task.weights}
        self.masks = {name: torch.ones_like(task.matrix(name), dtype=torch.bool) for name in task.weights}

    def scores(self) -> dict[str, Tensor]:
        """The flow through each weight that is left."""
        parameters = list(self.parameters.values())
        with differentiable(self.module, parameters), _without_dtype_casts():
            flow = torch.stack([y.sum() for y in outputs_of(run_batch(self.module, self.batch))]).sum()
            found = torch.autograd.grad(flow, parameters, allow_unused=True)
        return {
            name: self.task.weights[name].matrix((p * 0 if g is None else p * g).detach())
            for (name, p), g in zip(self.parameters.items(), found, strict=True)
        }

    def keep(self, scores: dict[str, Tensor], density: float) -> None:
        """Zero all but the best of all layers together."""
        flat = torch.cat([scores[name].flatten() for name in scores])
        best = keep_top(flat, max(1, round(density * flat.numel())))
        kept = torch.split(best, [s.numel() for s in scores.values()])
        for (name, score), mask in zip(scores.items(), kept, strict=True):
            self.masks[name] = mask.view(score.shape)
            with torch.no_grad():
                self.parameters[name].mul_(self.task.weights[name].tensor(self.masks[name]))


@contextmanager
def _without_dtype_casts() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _ones(batch: Batch) -> Batch:
    def one(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if not leaf.dtype.is_floating_point:
            raise PruneError("prune: synflow feeds ones to the model, and an input of this one is of integers")
        return torch.ones(leaf.shape, dtype=torch.float64)

    args, kwargs = pytree.tree_map(one, (batch.args, batch.kwargs))
    return Batch(args, kwargs)

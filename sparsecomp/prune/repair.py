"""Repair without training: what calibration data says the weights that stay should be.

Layers are fitted by least squares to their own former outputs (He Y. et al. 2017 for channels; survey, section 3.3),
means move into biases (Sietsma and Dow 1988), and batch normalisation counts its statistics again.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from sparsecomp.prune.data import Batch
from sparsecomp.prune.observe import Gram, Moments, collect, run_batch
from sparsecomp.prune.scores.base import Task, by_row, in_parts
from sparsecomp.prune.scores.hessian import LIMIT, damped, gram_bytes, inverse
from sparsecomp.prune.scores.sparsegpt import refit

DAMPING = 1e-3
LEAST_POSITIONS = 512
"""Fewer samples of a channel than this estimate its variance worse than what training left."""


def refit_masked(task: Task, masks: Mapping[str, Tensor]) -> None:
    """Zero what the masks say and fit the rest of each layer, in place, with the update of `SparseGPT`; then biases."""
    for part in in_parts(task, gram_bytes(task.weights), LIMIT):
        for name, grams, mean in _centred(part):
            rows = zip(part.matrix(name).chunk(len(grams)), grams, masks[name].chunk(len(grams)), strict=True)
            fitted = torch.cat([refit(matrix, inverse(gram, DAMPING), mask) for matrix, gram, mask in rows])
            _replace(part, name, fitted, mean)


def refit_columns(task: Task, kept: Mapping[str, Tensor]) -> None:
    """Zero the inputs of layers that are to go, in place, and fit the others by `least_squares`.

    Args:
        task: the consumers.
        kept: for each, bool by column of its matrix, ``[groups, columns]``.
    """
    for part in in_parts(task, gram_bytes(task.weights), LIMIT):
        for name, grams, mean in _centred(part):
            rows = zip(part.matrix(name).chunk(len(grams)), grams, kept[name], strict=True)
            _replace(part, name, torch.cat([least_squares(*row) for row in rows]), mean)


def least_squares(matrix: Tensor, gram: Tensor, kept: Tensor) -> Tensor:
    """The weights on the ``kept`` inputs whose outputs are nearest to those of ``matrix``; zeros elsewhere.

    Minimises ``||X W^T - X_S V^T||^2 + damping ||V - W_S||^2`` over V, with ``gram = X^T X`` and R the other inputs:
    ``V = W_S + W_R H_RS (H_SS + damping)^-1``.
    """
    cross = matrix[:, ~kept].double() @ gram[~kept][:, kept].double()
    result = torch.zeros_like(matrix)
    result[:, kept] = matrix[:, kept] + torch.linalg.solve(damped(gram, DAMPING)[kept][:, kept], cross.T).T.float()
    return result


def correct_biases(task: Task, before: Mapping[str, Tensor]) -> None:
    """Add to each bias the mean output that the change of the weights took away: ``(W - W') mean(x)``, in place."""
    seen = collect(task.module, task.weights, task.batches, Moments)
    for name, moments in seen.items():
        _move_mean(task, name, before[name], moments.mean)


def restore_batch_norm(module: nn.Module, batches: list[Batch]) -> bool:
    """Count the running statistics of batch normalisations anew over all batches, in place; was there enough data?"""
    norms = [each for each in module.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    if not norms or not all(count >= LEAST_POSITIONS for count in _positions(module, norms, batches)):
        return False
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over all batches
        norm.train()
    try:
        with torch.no_grad():
            for batch in batches:
                run_batch(module, batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
    return True


def _positions(module: nn.Module, norms: Sequence[nn.Module], batches: list[Batch]) -> Iterator[int]:
    counts = dict.fromkeys(norms, 0)

    def count(norm: nn.Module, args: tuple[Tensor, ...]) -> None:
        counts[norm] += args[0].numel() // args[0].shape[1]

    handles = [norm.register_forward_pre_hook(count) for norm in norms]
    try:
        with torch.no_grad():
            for batch in batches:
                run_batch(module, batch)
    finally:
        for handle in handles:
            handle.remove()
    yield from counts.values()


def _centred(task: Task) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """Gram matrix of the inputs of each weight; about their mean, and the mean, where a bias can take that up."""
    seen = collect(task.module, task.weights, task.batches, Gram)
    for name in [each for each in task.weights if each in seen]:
        found = seen.pop(name)
        if bias_of(task.module, name) is None:
            yield name, found.matrix, None
            continue
        mean = found.sum / found.count
        yield name, found.matrix - found.count * mean.unsqueeze(2) * mean.unsqueeze(1), mean


def _replace(task: Task, name: str, matrix: Tensor, mean: Tensor | None) -> None:
    before = task.matrix(name).clone()
    task.write(name, matrix)
    if mean is not None:
        _move_mean(task, name, before, mean)


def _move_mean(task: Task, name: str, before: Tensor, mean: Tensor) -> None:
    bias = bias_of(task.module, name)
    if bias is not None:
        change = (before - task.matrix(name)).double() * by_row(task.weights[name], mean.double())
        with torch.no_grad():
            bias.add_(change.sum(dim=1))


def bias_of(module: nn.Module, name: str) -> nn.Parameter | None:
    """The bias that belongs to a weight, by its name."""
    found = dict(module.named_parameters(remove_duplicate=False)).get(name.removesuffix("weight") + "bias")
    return found if name.endswith("weight") else None

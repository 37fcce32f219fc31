"""Second-order scores from the empirical Fisher matrix: its diagonal (OBD) or blocks of it (WoodFisher)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparsecomp.prune.scores.base import ElementPattern, Score, Solver, Task, in_parts
from sparsecomp.prune.scores.gradient import gradients


@dataclass(frozen=True)
class ObdFisher(Score):
    """``h_ii w_i^2 / 2`` with ``h_ii`` the mean of the squared gradient over the items of data.

    Optimal brain damage (LeCun et al. 1990) with the empirical Fisher matrix for the Hessian (Theis et al. 2018;
    survey, section 3.5). Every item of data counts as one example: give batches of one where gradients may cancel out.
    """

    name: ClassVar[str] = "obd"
    needs_data: ClassVar[bool] = True

    def elements(self, task: Task) -> dict[str, Tensor]:
        """See the class."""
        fisher = {name: torch.zeros_like(task.matrix(name)) for name in task.weights}
        for found in gradients(task, task.batches):
            for (name, weight), gradient in zip(task.weights.items(), found, strict=True):
                fisher[name] += weight.matrix(gradient).float().square() / len(task.batches)
        return {name: diagonal * task.matrix(name).square() / 2 for name, diagonal in fisher.items()}


@dataclass(frozen=True)
class WoodFisher(Solver):
    """``w_i^2 / (2 [F^-1]_ii)``, F the empirical Fisher matrix in blocks of ``block`` neighbouring weights.

    ``F = damping I + (1/N) sum g g^T``, inverted by Woodbury: ``Finv <- Finv - Finv g g^T Finv / (N + g^T Finv g)``.
    When the weights Q of a block are zeroed, the block changes by the joint step of the optimal brain
    surgeon, ``-Finv[:, Q] (Finv[Q, Q])^-1 w_Q`` (Singh and Alistarh 2020, *WoodFisher*; Hassibi and Stork 1992).
    A block takes ``block`` floats a weight; as many layers as ``limit`` bytes hold share one run over the
    data. Every item of data counts as one example.
    """

    block: int = 32
    damping: float = 1e-5
    limit: int = 512 << 20
    name: ClassVar[str] = "woodfisher"
    needs_data: ClassVar[bool] = True

    def elements(self, task: Task) -> dict[str, Tensor]:
        """See the class."""
        return {name: self._cost(task, name, blocks) for name, blocks in self._inverses(task)}

    def solve(
        self, task: Task, pattern: ElementPattern, densities: Mapping[str, float]
    ) -> Iterator[tuple[str, Tensor, Tensor]]:
        """See `Solver.solve`."""
        for name, inverted in self._inverses(task):
            matrix = task.matrix(name)
            mask = pattern.mask(self._cost(task, name, inverted), densities[name])
            yield name, surgeon(matrix, inverted, mask), mask

    def _cost(self, task: Task, name: str, inverted: Tensor) -> Tensor:
        matrix = task.matrix(name)
        diagonal = inverted.diagonal(dim1=1, dim2=2).flatten()[: matrix.numel()].view(matrix.shape)
        return matrix.square() / (2 * diagonal)

    def _inverses(self, task: Task) -> Iterator[tuple[str, Tensor]]:
        sizes = {name: 4 * weight.size * self.block for name, weight in task.weights.items()}
        for part in in_parts(task, sizes, self.limit):
            inverted = {
                name: (torch.eye(self.block) / self.damping).repeat(-(-w.size // self.block), 1, 1)
                for name, w in part.weights.items()
            }
            for found in gradients(part, part.batches):
                for (name, weight), gradient in zip(part.weights.items(), found, strict=True):
                    woodbury(inverted[name], in_blocks(weight.matrix(gradient), self.block), len(part.batches))
            yield from inverted.items()


def in_blocks(matrix: Tensor, size: int) -> Tensor:
    """The entries row by row in blocks, ``[blocks, size]``; the last one is filled with zeros."""
    flat = matrix.float().reshape(-1)
    return torch.nn.functional.pad(flat, (0, -flat.numel() % size)).view(-1, size)


def woodbury(inverted: Tensor, gradient: Tensor, examples: int) -> None:
    """Take one of ``examples`` gradients ``[blocks, size]`` into the inverses ``[blocks, size, size]``, in place."""
    product = torch.bmm(inverted, gradient.unsqueeze(2)).squeeze(2)
    scale = examples + (product * gradient).sum(dim=1)
    inverted.baddbmm_(product.unsqueeze(2), (product / scale.unsqueeze(1)).unsqueeze(1), alpha=-1)


def surgeon(matrix: Tensor, inverted: Tensor, mask: Tensor) -> Tensor:
    """The weights after the joint step of the optimal brain surgeon that zeroes all but ``mask``.

    Args:
        matrix: weights.
        inverted: inverses of the blocks of the curvature, ``[blocks, size, size]``.
        mask: what stays, as ``matrix``.
    """
    size = inverted.shape[-1]
    gone = in_blocks((~mask).float(), size)
    weights = in_blocks(matrix, size)
    # For entries that stay, the system is the identity with a zero on the right.
    system = inverted * gone.unsqueeze(1) * gone.unsqueeze(2) + torch.diag_embed(1 - gone)
    step = torch.linalg.solve(system, gone * weights) * gone
    updated = weights - torch.bmm(inverted, step.unsqueeze(2)).squeeze(2)
    return updated.flatten()[: matrix.numel()].view(matrix.shape) * mask

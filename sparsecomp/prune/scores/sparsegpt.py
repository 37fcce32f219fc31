"""SparseGPT: layer-wise optimal brain surgeon in one sweep over the columns, with update of the weights that stay."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparsecomp.prune.observe import Gram, collect
from sparsecomp.prune.scores.activation import Reconstruction
from sparsecomp.prune.scores.base import ElementPattern, Solver, Task, in_parts
from sparsecomp.prune.scores.hessian import LIMIT, gram_bytes, inverse

COLUMNS = 128


@dataclass(frozen=True)
class SparseGPT(Solver):
    """Zero weights of a layer so that ``||W X - W' X||^2`` stays small, column by column, updating the columns to come.

    With ``H = X^T X + damping * mean(diag) * I`` and the upper Cholesky factor U of ``H^-1``, entry (i, j) costs
    ``w_ij^2 / U_jj^2``; zeroing it changes the rest of its row by ``-(w_ij / U_jj) U_j,j:``. Masks are chosen for
    ``columns`` columns at a time (for m columns in an N:M pattern), from weights that hold all updates so far
    (Frantar and Alistarh 2023, *SparseGPT*, arXiv 2301.00774, algorithm 1; OBS: Hassibi and Stork 1992).

    The Gram matrices of as many layers as ``limit`` bytes hold are collected in one run over the data; later layers see
    the inputs that the pruned earlier layers give.
    """

    damping: float = 0.01
    columns: int = COLUMNS
    limit: int = LIMIT
    name: ClassVar[str] = "sparsegpt"
    needs_data: ClassVar[bool] = True
    side: ClassVar = "inputs"

    def elements(self, task: Task) -> dict[str, Tensor]:
        """The cost before any other weight is gone, ``w_ij^2 / [H^-1]_jj``."""
        return Reconstruction(self.damping).elements(task)

    def solve(
        self, task: Task, pattern: ElementPattern, densities: Mapping[str, float]
    ) -> Iterator[tuple[str, Tensor, Tensor]]:
        """See `Solver.solve`."""
        for part in in_parts(task, gram_bytes(task.weights), self.limit):
            grams = collect(part.module, part.weights, part.batches, Gram)
            for name in [each for each in part.weights if each in grams]:
                yield name, *self._layer(part.matrix(name), grams.pop(name).matrix, pattern, densities[name])

    def _layer(self, matrix: Tensor, grams: Tensor, pattern: ElementPattern, density: float) -> tuple[Tensor, Tensor]:
        """One layer, each group of a convolution by itself."""
        parts = [
            sweep(rows, inverse(gram, self.damping), pattern, density, self.columns)
            for rows, gram in zip(matrix.chunk(len(grams)), grams, strict=True)
        ]
        return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def sweep(
    matrix: Tensor, inverted: Tensor, pattern: ElementPattern, density: float, columns: int = COLUMNS
) -> tuple[Tensor, Tensor]:
    """Prune ``matrix [outputs, inputs]`` by the algorithm of `SparseGPT`: new matrix and mask.

    Args:
        matrix: the weights.
        inverted: ``H^-1``.
        pattern: where zeros may stand.
        density: the share that stays.
        columns: how many columns a mask is chosen for at a time.
    """
    step = pattern.step or columns
    least = getattr(pattern, "columns", 1)
    width = -(-columns // step) * step if pattern.step else max(least, columns - columns % least)

    def choose(block: Tensor, pivots: Tensor, _start: int) -> Tensor:
        return pattern.mask(block.square() / pivots.square(), density)

    return _eliminate(matrix, inverted, width, pattern.step or width, choose)


def refit(matrix: Tensor, inverted: Tensor, mask: Tensor, columns: int = COLUMNS) -> Tensor:
    """``matrix`` with the zeros of ``mask``, the rest updated to make up for them as in `SparseGPT`."""

    def given(block: Tensor, _pivots: Tensor, start: int) -> Tensor:
        return mask[:, start : start + block.shape[1]]

    return _eliminate(matrix, inverted, columns, columns, given)[0]


Choose = Callable[[Tensor, Tensor, int], Tensor]


def _eliminate(matrix: Tensor, inverted: Tensor, width: int, step: int, choose: Choose) -> tuple[Tensor, Tensor]:
    """The sweep: updates reach the columns of the same ``width`` at once, those after it when it is done."""
    factor = torch.linalg.cholesky(inverted, upper=True).float()
    matrix, mask = matrix.clone(), torch.ones_like(matrix, dtype=torch.bool)
    for start in range(0, matrix.shape[1], width):
        block = matrix[:, start : start + width]
        end = start + block.shape[1]
        inner = factor[start:end, start:end]
        errors = torch.zeros_like(block)
        for first in range(0, end - start, step):
            last = min(first + step, end - start)
            chosen = choose(block[:, first:last], inner.diagonal()[first:last], start + first)
            mask[:, start + first : start + last] = chosen
            for j in range(first, last):
                errors[:, j] = torch.where(chosen[:, j - first], 0.0, block[:, j]) / inner[j, j]
                block[:, j:] -= torch.outer(errors[:, j], inner[j, j:])
        matrix[:, end:] -= errors @ factor[start:end, end:]
    return matrix * mask, mask

"""Scores from what flows into each weight, without labels or gradients."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparsecomp.prune.observe import Gram, Moments, collect
from sparsecomp.prune.scores.base import Score, Task, by_row, in_parts
from sparsecomp.prune.scores.hessian import LIMIT, gram_bytes, inverse


@dataclass(frozen=True)
class Wanda(Score):
    """``|w_ij| * ||x_j||``: magnitude times the L2 norm of the input feature over all calibration positions.

    Weights of one output compete with each other only (Sun et al. 2023, *A Simple and Effective Pruning Approach for
    Large Language Models*, arXiv 2306.11695, eq. 1).
    """

    name: ClassVar[str] = "wanda"
    needs_data: ClassVar[bool] = True
    per_output: ClassVar[bool] = True
    side: ClassVar = "inputs"

    def elements(self, task: Task) -> dict[str, Tensor]:
        """See the class."""
        seen = collect(task.module, task.weights, task.batches, Moments)
        return {
            name: task.matrix(name).abs() * by_row(task.weights[name], torch.as_tensor(m.square).sqrt().float())
            for name, m in seen.items()
        }


@dataclass(frozen=True)
class Apoz(Score):
    """``1 - APoZ_j``, where ``APoZ_j`` is the average share of positions at which input feature j is zero.

    Meant for slices behind a ReLU: a unit that is mostly silent goes first (Hu et al. 2016, *Network Trimming*; survey,
    section 3.3). The score of a feature is divided among the weights that read it.
    """

    name: ClassVar[str] = "apoz"
    needs_data: ClassVar[bool] = True
    side: ClassVar = "inputs"

    def elements(self, task: Task) -> dict[str, Tensor]:
        """See the class."""
        seen = collect(task.module, task.weights, task.batches, Moments)
        found = {}
        for name, m in seen.items():
            weight = task.weights[name]
            active = (1 - torch.as_tensor(m.zeros) / m.count).float()
            found[name] = by_row(weight, active).expand(task.matrix(name).shape) / weight.outputs
        return found


@dataclass(frozen=True)
class Variance(Score):
    """``w_ij^2 var(x_j)``: what the output loses in mean square if the feature is replaced by its mean.

    A feature that never changes costs nothing, since its mean can move into the bias (Sietsma and Dow 1988; survey,
    section 3.3); ``repair=True`` does that. Features are taken as uncorrelated.
    """

    name: ClassVar[str] = "variance"
    needs_data: ClassVar[bool] = True
    side: ClassVar = "inputs"

    def elements(self, task: Task) -> dict[str, Tensor]:
        """See the class."""
        seen = collect(task.module, task.weights, task.batches, Moments)
        return {
            name: task.matrix(name).square() * by_row(task.weights[name], m.variance.float())
            for name, m in seen.items()
        }


@dataclass(frozen=True)
class Reconstruction(Score):
    """``w_ij^2 / [H^-1]_jj`` with ``H = X^T X``: the squared error of the output when the rest is fitted again.

    Summed over a column it is exactly what ``min ||Y - X_S W_S||^2`` grows by when feature j leaves and the weights of
    the others are solved by least squares (Hassibi and Stork 1992 for a layer; He Y. et al. 2017 and ThiNet use the
    same objective; survey, section 3.3).
    """

    damping: float = 0.01
    name: ClassVar[str] = "reconstruction"
    needs_data: ClassVar[bool] = True
    side: ClassVar = "inputs"

    def elements(self, task: Task) -> dict[str, Tensor]:
        """See the class."""
        found: dict[str, Tensor] = {}
        for part in in_parts(task, gram_bytes(task.weights), LIMIT):
            for name, gram in collect(part.module, part.weights, part.batches, Gram).items():
                diagonal = torch.stack([inverse(each, self.damping).diagonal() for each in gram.matrix]).float()
                found[name] = part.matrix(name).square() / by_row(part.weights[name], diagonal)
        return found

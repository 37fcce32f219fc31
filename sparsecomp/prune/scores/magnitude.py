"""Scores that look at the weights alone."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparsecomp.prune.scores.base import Score, Task


@dataclass(frozen=True)
class Magnitude(Score):
    """``|w| ** power``; summed over a block or slice, its L1 norm (power 1) or the square of its L2 norm (power 2).

    The oldest score and the baseline of all others (Hagiwara 1993; Han et al. 2015; survey, section 3.2). It is
    second-order pruning with a Hessian that is a multiple of the identity.
    """

    power: int = 1
    name: ClassVar[str] = "magnitude"

    def elements(self, task: Task) -> dict[str, Tensor]:
        """See the class."""
        return {name: task.matrix(name).abs() ** self.power for name in task.weights}


@dataclass(frozen=True)
class Random(Score):
    """Uniform random numbers: the control that every other score must beat."""

    seed: int = 0
    name: ClassVar[str] = "random"

    def elements(self, task: Task) -> dict[str, Tensor]:
        """See the class."""
        generator = torch.Generator().manual_seed(self.seed)
        return {name: torch.rand(task.matrix(name).shape, generator=generator) for name in task.weights}

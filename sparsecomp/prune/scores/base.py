"""What a score is: how much it would cost to zero each weight."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from sparsecomp.prune.data import Batch, Loss
from sparsecomp.prune.patterns import NM, Block
from sparsecomp.prune.weights import Weight

ElementPattern = Block | NM


@dataclass
class Task:
    """What a score works on.

    Attributes:
        module: the model, in evaluation mode; scores leave it as it was.
        weights: those to score, by name.
        batches: calibration data.
        loss: from outputs and target to a scalar, None if there is none.
        density: the share of the weights that is to stay.
    """

    module: nn.Module
    weights: Mapping[str, Weight]
    batches: list[Batch] = field(default_factory=list)
    loss: Loss | None = None
    density: float = 0.5

    def parameter(self, name: str) -> nn.Parameter:
        """The parameter itself."""
        return self.module.get_parameter(name)

    def matrix(self, name: str) -> Tensor:
        """The weight as a float32 matrix, see `Weight.matrix`."""
        return self.weights[name].matrix(self.parameter(name).detach()).float()

    def write(self, name: str, matrix: Tensor) -> None:
        """Set the parameter from its matrix."""
        with torch.no_grad():
            self.parameter(name).copy_(self.weights[name].tensor(matrix))

    def only(self, names: Iterable[str]) -> "Task":
        """The same for some of the weights."""
        chosen = {name: self.weights[name] for name in names}
        return Task(self.module, chosen, self.batches, self.loss, self.density)


class Score(ABC):
    """Scores of single weights; the larger, the more it costs to zero it.

    Attributes:
        name: as a user writes it.
        needs_data: it looks at calibration data.
        needs_loss: it differentiates a loss that the user must give.
        per_output: weights of one output compete with each other only, where the budget does not rank layers.
        side: which entries tell what a slice of several layers is worth: those that read it, or both these and those
            that compute it.
    """

    name: ClassVar[str]
    needs_data: ClassVar[bool] = False
    needs_loss: ClassVar[bool] = False
    per_output: ClassVar[bool] = False
    side: ClassVar[Literal["inputs", "both"]] = "both"

    @abstractmethod
    def elements(self, task: Task) -> dict[str, Tensor]:
        """A score for each entry of the matrix of each weight; weights that the data never meets are left out."""


class Solver(Score):
    """A score whose method also changes the weights that stay, to make up for those that go."""

    @abstractmethod
    def solve(
        self, task: Task, pattern: ElementPattern, densities: Mapping[str, float]
    ) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Prune each weight: its name, the new matrix, and the mask. The caller may write each before the next."""


def by_row(weight: Weight, statistic: Tensor) -> Tensor:
    """``[groups, columns]`` as ``[outputs, columns]`` (or ``[1, columns]``): what each output reads."""
    return statistic if weight.groups == 1 else statistic.repeat_interleave(weight.outputs // weight.groups, 0)


def in_parts(task: Task, nbytes: Mapping[str, int], limit: int) -> Iterator[Task]:
    """The task divided, in order, so that what the weights of a part need stays below ``limit`` bytes."""
    part: list[str] = []
    for name in task.weights:
        if part and sum(nbytes[each] for each in (*part, name)) > limit:
            yield task.only(part)
            part = []
        part.append(name)
    if part:
        yield task.only(part)

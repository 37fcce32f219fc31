"""What there is to measure: the distinct layers of a program, with their operands."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx

from sparsecomp.kernels.cost import WeightStats, predict
from sparsecomp.kernels.problem import ConvProblem, Problem
from sparsecomp.kernels.schedule import Schedule
from sparsecomp.kernels.space import space
from sparsecomp.lower.decide import FUSED, example_shape, problem_of
from sparsecomp.program import Program, arguments, layer_name
from sparsecomp.targets import Target
from sparsecomp.tune.keys import Key, distance, key_of

_BYTES_A_NONZERO = 6  # a float32 and where it belongs


@dataclass
class Task:
    """Layers that compute the same with weights of nearly the same pattern; the first one stands for all.

    Attributes:
        problem: what they compute.
        key: what measurements of them belong to.
        density: share of the first weight that is not zero.
        schedules: the ways to run them, those predicted fastest first.
        predicted: seconds that the first schedule is predicted to take.
        weight: the first layer's, ``[out, ...]``.
        node: the first layer's in the graph.
        layers: their paths in the user's model.
    """

    problem: Problem
    key: Key
    density: float
    schedules: list[Schedule]
    predicted: float
    weight: torch.Tensor
    node: fx.Node
    layers: list[str] = field(default_factory=list)

    def write_operands(self, program: Program, directory: Path) -> None:
        """Save what the kernel reads and what it must write, as PyTorch computes it, as ``.npy`` files."""
        given = arguments(self.node)
        generator = torch.Generator().manual_seed(0)

        def random(node: fx.Node) -> torch.Tensor:
            return torch.randn(example_shape(node), generator=generator)

        given["x"], given["weight"] = random(given["x"]), self.weight
        given["bias"] = None if given["bias"] is None else program.weight(given["bias"])
        given["residual"] = None if given["residual"] is None else random(given["residual"])
        y = self.node.target(**given)  # type: ignore[operator]  # an OpOverload
        self._save(directory / "weight.npy", self.weight)
        for name, value in {**given, "y": y}.items():
            if name in ("x", "bias", "residual", "y") and value is not None:
                self._save(directory / f"{name}.npy", value if name == "bias" else self._flat(value))

    def _flat(self, value: torch.Tensor) -> torch.Tensor:
        """Tokens as rows of a matrix, images with a height: as the kernels take them."""
        if isinstance(self.problem, ConvProblem):
            return value if value.dim() == 4 else value.unsqueeze(2)
        return value.reshape(-1, value.shape[-1])

    @staticmethod
    def _save(path: Path, tensor: torch.Tensor) -> None:
        np.save(path, tensor.detach().contiguous().numpy())


def collect(program: Program, target: Target) -> list[Task]:
    """The distinct layers that have a kernel with a choice of schedules, in the order of the graph."""
    found: dict[tuple[Any, ...], list[Task]] = {}
    for node in program.calls(*FUSED):
        problem, _ = problem_of(node)
        if problem is None:
            continue
        task = _task(program, node, problem, target)
        alike = found.setdefault((problem, task.key.problem), [])
        same = next((known for known in alike if distance(known.key.pattern, task.key.pattern) is not None), None)
        if same is None:
            alike.append(task)
        (same or task).layers.append(layer_name(node))
    return [task for alike in found.values() for task in alike]


def _task(program: Program, node: fx.Node, problem: Problem, target: Target) -> Task:
    given = arguments(node)
    weight = program.weight(given["weight"])
    stats = WeightStats.of(weight.numpy())
    schedules = space(problem, stats, target)
    return Task(
        problem=problem,
        key=key_of(target, problem, example_shape(given["x"]), stats),
        density=stats.density,
        schedules=schedules,
        predicted=predict(problem, stats, schedules[0], target),
        weight=weight,
        node=node,
    )


def weight_bytes(tasks: Iterable[Task]) -> int:
    """About how many bytes of packed weights a call of the whole network reads."""
    return int(
        sum(len(task.layers) * task.weight.numel() * min(4.0, _BYTES_A_NONZERO * task.density) for task in tasks)
    )

"""What a layer has to do at least: multiplications by nonzeros, bytes in and out, and the time for that on a target."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx

from sparsecomp.kernels.cost import WeightStats, predict
from sparsecomp.kernels.problem import ConvProblem, LinearProblem, Problem
from sparsecomp.kernels.space import space
from sparsecomp.lower import Decision
from sparsecomp.targets.base import Target

VALUE, INDEX = 4, 2  # bytes of a float32, and of a column number


@dataclass(frozen=True)
class Work:
    """Of one call on the example inputs, as the model has it.

    Attributes:
        dense: multiply-adds with every weight.
        nonzero: multiply-adds with weights that are not zero.
        nbytes: of the input, the output and the nonzeros with their places.
    """

    dense: int
    nonzero: int
    nbytes: int


def work_of(node: fx.Node, weight: Tensor) -> Work:
    """The work of a call that reads this weight."""
    name, out = str(node.target), _numel(node)
    x = next((each for each in node.all_input_nodes if each.op != "get_attr"), None)
    if "embedding" in name:
        positions = 0
    elif "transpose" in name:
        positions = _numel(x) // weight.shape[0] if x is not None else 0
    elif name.startswith(("aten.lstm", "aten.gru", "aten.rnn")):
        positions = math.prod(_shape(x)[:-1]) if x is not None else 0
    else:
        outputs = weight.shape[-1] if "mm" in name or "matmul" in name else weight.shape[0]
        positions = out // max(outputs, 1)
    count = int(torch.count_nonzero(weight))
    places = 0 if count == weight.numel() else INDEX * count
    moved = VALUE * (out + (_numel(x) if x is not None else 0) + count) + places
    return Work(weight.numel() * positions, count * positions, moved)


def roofline_seconds(work: Work, target: Target) -> float:
    """The least time that the target's peak allows: arithmetic, or bytes from the nearest cache that holds them all."""
    caches = (target.l1_bytes, target.l2_bytes, target.l3_bytes)
    level = next((index for index, size in enumerate(caches) if work.nbytes <= size), 3)
    arithmetic = 2 * work.nonzero / (target.flops * target.cores)
    return max(arithmetic, work.nbytes / (target.bytes_per_s[level] * target.cores))


def dense_seconds(found: Sequence[Decision], shape: tuple[int, ...], target: Target) -> float | None:
    """What a layer with a weight of this shape is predicted to take with a dense kernel; None if it is not known."""
    total = 0.0
    for decision in found:
        problem = decision.problem
        if problem is None:
            return None
        whole = _whole(problem, shape) if len(found) == 1 else problem
        dense = [each.predicted for each in decision.candidates if not each.is_sparse]
        if whole != problem or not dense:
            stats = WeightStats.unstructured(1.0)
            dense = [predict(whole, stats, space(whole, stats, target)[0], target)]
        total += min(dense)
    return total


def _whole(problem: Problem, shape: tuple[int, ...]) -> Problem:
    """The problem before removal."""
    if isinstance(problem, LinearProblem):
        return replace(problem, out_features=shape[0], in_features=shape[1]) if len(shape) == 2 else problem
    assert isinstance(problem, ConvProblem)
    if len(shape) < 3 or problem.groups > 1:
        return problem
    return replace(problem, out_channels=shape[0], in_channels=shape[1])


def _shape(node: Any) -> list[int]:
    value = node.meta["val"]
    value = value[0] if isinstance(value, tuple | list) else value
    return [size if isinstance(size, int) else int(size.node.hint) for size in value.shape]


def _numel(node: Any) -> int:
    return math.prod(_shape(node))

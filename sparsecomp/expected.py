"""What a pruned model is expected to cost: multiplications, and the time of its layers by the cost model."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from sparsecomp.kernels.cost import WeightStats
from sparsecomp.kernels.problem import LinearProblem, Problem
from sparsecomp.layer_times import layer_seconds, problems_of, stats_of
from sparsecomp.prune.elements import count_uses
from sparsecomp.prune.patterns import NM, Block, Pattern
from sparsecomp.prune.result import Pruned
from sparsecomp.prune.run import Request, prepare
from sparsecomp.prune.weights import Weight
from sparsecomp.targets import Target

DENSE = WeightStats.unstructured(1.0)


def with_expected(pruned: Pruned, wanted: Request, target: Target) -> Pruned:
    """The same with ``flop_ratio``, ``ms_dense`` and ``ms_pruned`` in the report, if there are example inputs.

    Raises:
        PruneError: the model cannot be run on them.
    """
    if wanted.example is None:
        return pruned
    task, _ = prepare(pruned.model, replace(wanted, exclude=()))
    task = replace(task, batches=[wanted.example])
    uses, problems = count_uses(task), problems_of(task, wanted.example)
    dense = {name: sum(layer_seconds(each, DENSE, target) for each in found) for name, found in problems.items()}
    sparse = {
        name: sum(
            _seconds(each, task.weights[name], pruned.masks.get(name), wanted.pattern, target)
            for each in problems[name]
        )
        for name in problems
    }
    expected = {
        **pruned.report.expected,
        "flop_ratio": _flop_ratio(task.weights, uses, pruned.masks),
        "ms_dense": 1e3 * sum(dense.values()),
        "ms_pruned": 1e3 * sum(sparse.values()),
    }
    return replace(pruned, report=replace(pruned.report, expected=expected))


def _flop_ratio(weights: Mapping[str, Weight], uses: Mapping[str, int], masks: Mapping[str, Tensor]) -> float:
    """Multiplications with weights that may be nonzero, over all."""
    every = {name: weights[name].size * count for name, count in uses.items()}
    left = sum(work * (float(masks[name].float().mean()) if name in masks else 1.0) for name, work in every.items())
    return left / max(sum(every.values()), 1)


def _seconds(problem: Problem, weight: Weight, mask: Tensor | None, pattern: Pattern, target: Target) -> float:
    dense = layer_seconds(problem, DENSE, target)
    if mask is None:
        return dense
    if isinstance(pattern, Block | NM):
        block = pattern if isinstance(pattern, Block) else Block()
        return min(dense, layer_seconds(problem, stats_of(block, float(mask.float().mean())), target))
    smaller = _cut(problem, weight.matrix(mask), weight.inputs)
    return layer_seconds(smaller, DENSE, target) if smaller is not None else 0.0


def _cut(problem: Problem, mask: Tensor, inputs: int) -> Problem | None:
    """The problem without the rows and inputs that are gone; None if nothing is left, itself if it has groups."""
    outputs = int(mask.any(dim=1).sum())
    features = int(mask.any(dim=0).view(-1, inputs).any(dim=0).sum())
    if not outputs or not features:
        return None
    if isinstance(problem, LinearProblem):
        return replace(problem, out_features=outputs, in_features=features)
    return replace(problem, out_channels=outputs, in_channels=features) if problem.groups == 1 else problem

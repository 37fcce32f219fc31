"""Pruning weight by weight: scores, a density for each layer, masks, and the new weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sparsecomp.errors import PruneError
from sparsecomp.prune.budgets import Budget, Flops, Share
from sparsecomp.prune.observe import Use, run_batch, watching
from sparsecomp.prune.patterns import NM
from sparsecomp.prune.repair import correct_biases, refit_masked
from sparsecomp.prune.result import score_statistics
from sparsecomp.prune.scores import Score, Solver, Task
from sparsecomp.prune.scores.base import ElementPattern


@dataclass
class Outcome:
    """What was decided: masks in the parameters' shapes, statistics of scores, and what to tell the user.

    ``counts`` has for each group of slices how many are gone, and of how many.
    """

    masks: dict[str, Tensor] = field(default_factory=dict)
    statistics: dict[str, Mapping[str, float]] = field(default_factory=dict)
    removed: dict[str, str] = field(default_factory=dict)
    counts: list[tuple[int, int]] = field(default_factory=list)


def prune_elements(task: Task, pattern: ElementPattern, score: Score, budget: Budget, repair: bool) -> Outcome:
    """Zero entries of the weights of the task, in place.

    Raises:
        PruneError: the pattern does not fit a weight.
    """
    check_fits(task, pattern)
    solver = score if isinstance(score, Solver) else None
    scores = score.elements(task) if solver is None or budget.ranks else {}
    if solver is None:
        task = task.only(name for name in task.weights if name in scores)
    densities = _densities(task, pattern, budget, scores)
    before = {name: task.matrix(name).clone() for name in task.weights} if repair and solver else {}
    outcome = Outcome()
    if solver is not None:
        for name, matrix, mask in solver.solve(task, pattern, densities):
            task.write(name, matrix)
            outcome.masks[name] = task.weights[name].tensor(mask)
            outcome.statistics[name] = score_statistics(scores[name], mask) if name in scores else {}
        if repair:
            correct_biases(task.only(outcome.masks), before)
        return outcome
    alone = score.per_output and not budget.ranks
    masks = {name: pattern.mask(scores[name], densities[name], alone) for name in task.weights}
    for name, mask in masks.items():
        outcome.masks[name] = task.weights[name].tensor(mask)
        outcome.statistics[name] = score_statistics(scores[name], mask)
    if repair:
        refit_masked(task, masks)
    with torch.no_grad():
        for name, mask in outcome.masks.items():
            task.parameter(name).mul_(mask)
    return outcome


def check_fits(task: Task, pattern: ElementPattern) -> None:
    """Whether the pattern divides every weight.

    Raises:
        PruneError: lists those that it does not.
    """
    obstacles = {weight.layer: why for weight in task.weights.values() if (why := pattern.obstacle(weight))}
    if obstacles:
        lines = "\n".join(f"  {layer}: {why}" for layer, why in obstacles.items())
        raise PruneError(
            f"prune: pattern {pattern.name} does not divide {len(obstacles)} weight(s):\n{lines}\n"
            f"leave them dense with exclude={sorted(obstacles)!r}"
        )


def _densities(
    task: Task, pattern: ElementPattern, budget: Budget, scores: Mapping[str, Tensor]
) -> Mapping[str, float]:
    if isinstance(pattern, NM):
        return dict.fromkeys(task.weights, pattern.density)
    uses = count_uses(task) if isinstance(budget, Flops) else {}
    shares = []
    for name, weight in task.weights.items():
        units = pattern.units(scores[name]) * (pattern.units(scores[name]).numel() / weight.size) if scores else None
        shape = weight.shape if weight.out_axis == 0 else (weight.shape[1], weight.shape[0], *weight.shape[2:])
        shares.append(Share(name, shape, weight.size, uses.get(name, 1), units))
    return budget.densities(shares, task.density)


def count_uses(task: Task) -> dict[str, int]:
    """How often each weight multiplies in one call of the model on the first batch.

    Raises:
        PruneError: there is no batch.
    """
    if not task.batches:
        raise PruneError("prune: counting multiplications needs example inputs (args)")
    found: dict[str, int] = {}

    def see(name: str, use: Use) -> None:
        found[name] = found.get(name, 0) + use.positions

    with torch.no_grad(), watching(task.module, task.weights, see):
        run_batch(task.module, task.batches[0])
    return found

"""Pruning slice by slice: units of the coupling graph are scored as one and zeroed in every layer that they touch."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from sparsecomp.prune.budgets import Budget, Share
from sparsecomp.prune.elements import Outcome, count_uses
from sparsecomp.prune.groups import Group, Slices
from sparsecomp.prune.patterns import Structured, keep_top
from sparsecomp.prune.repair import refit_columns
from sparsecomp.prune.result import score_statistics
from sparsecomp.prune.scores import Score, Task
from sparsecomp.prune.weights import Weight


def prune_groups(
    task: Task, groups: Sequence[Group], pattern: Structured, score: Score, budget: Budget, repair: bool
) -> Outcome:
    """Zero units of the groups, in place, the same share of each group or as the budget says."""
    touched = {name for group in groups for name in group.parameters}
    task = task.only(name for name in task.weights if name in touched)
    scores = {name: task.weights[name].tensor(matrix) for name, matrix in score.elements(task).items()}
    worth = {group.name: unit_scores(group, scores, task.weights, score.side) for group in groups}
    uses = count_uses(task) if budget.name == "flops" else {}
    shares = [_share(group, worth[group.name], task, uses) for group in groups]
    densities = budget.densities(shares, task.density)
    outcome = Outcome()
    gone: list[Slices] = []
    for group in groups:
        kept = keep_top(worth[group.name], kept_units(len(group.units), densities[group.name], pattern.multiple))
        gone += [part for unit, stays in zip(group.units, kept.tolist(), strict=True) if not stays for part in unit]
        outcome.counts.append((int((~kept).sum()), len(kept)))
        outcome.removed[group.name] = "{} of {} {}".format(*outcome.counts[-1], pattern.name)
        outcome.statistics[f"{group.name}.weight"] = score_statistics(worth[group.name], kept)
    outcome.masks = masks_of(task, gone)
    if repair:
        refit_columns(*_consumers(task, gone))
    with torch.no_grad():
        for name, mask in outcome.masks.items():
            task.parameter(name).mul_(mask)
    return outcome


def unit_scores(group: Group, scores: Mapping[str, Tensor], weights: Mapping[str, Weight], side: str) -> Tensor:
    """For each unit the mean score of its entries in the weights that ``side`` names (all, where that leaves none)."""
    wanted = {
        (part.name, part.axis)
        for unit in group.units
        for part in unit
        if part.name in scores and (side == "both" or part.axis == 1 - weights[part.name].out_axis)
    }
    total, count = torch.zeros(len(group.units)), torch.zeros(len(group.units))
    for number, unit in enumerate(group.units):
        for part in unit:
            if part.name in scores and (not wanted or (part.name, part.axis) in wanted):
                chosen = scores[part.name]
                chosen = chosen if part.axis is None else chosen.index_select(part.axis, part.indices)
                total[number] += chosen.sum()
                count[number] += chosen.numel()
    return total / count.clamp(min=1)


def kept_units(count: int, density: float, multiple: int) -> int:
    """How many units stay: one at least; rounded up to a multiple where the group has two multiples or more."""
    kept = max(1, round(density * count))
    return min(count, -(-kept // multiple) * multiple) if count >= 2 * multiple else kept


def masks_of(task: Task, gone: Iterable[Slices]) -> dict[str, Tensor]:
    """Masks of all parameters that lose a slice."""
    masks: dict[str, Tensor] = {}
    for part in gone:
        mask = masks.setdefault(part.name, torch.ones(task.parameter(part.name).shape, dtype=torch.bool))
        if part.axis is None:
            mask[...] = False
        else:
            mask.index_fill_(part.axis, part.indices, False)
    return masks


def _share(group: Group, worth: Tensor, task: Task, uses: Mapping[str, int]) -> Share:
    """A group as a budget sees it: a matrix of units by what they hold."""
    size = sum(
        task.parameter(part.name).numel()
        // (1 if part.axis is None else task.parameter(part.name).shape[part.axis])
        * max(len(part.indices), 1)
        for part in group.units[0]
    )
    times = max([uses.get(name, 1) for name in group.parameters])
    return Share(group.name, (len(group.units), size), len(group.units) * size, times, worth)


def _consumers(task: Task, gone: Sequence[Slices]) -> tuple[Task, dict[str, Tensor]]:
    """The weights that lose inputs, and which of their matrix columns stay: ``[groups, columns]``."""
    kept: dict[str, Tensor] = {}
    for part in gone:
        weight = task.weights.get(part.name)
        if weight is None or weight.kind not in ("linear", "conv") or weight.groups > 1:
            continue
        if part.axis == 1 - weight.out_axis:
            columns = kept.setdefault(part.name, torch.ones(weight.size // weight.outputs, dtype=torch.bool))
            columns.view(-1, weight.inputs)[:, part.indices] = False
    return task.only(name for name in task.weights if name in kept), {n: each.unsqueeze(0) for n, each in kept.items()}

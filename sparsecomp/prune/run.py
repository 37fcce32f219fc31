"""Pruning from request to result: checks first, then a copy, then zeros in the copy."""

import copy
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from sparsecomp.errors import PruneError
from sparsecomp.inspect.metrics import sizes
from sparsecomp.prune.budgets import Budget, Flops, PerLayer, Uniform, check_sparsity, parse_budget
from sparsecomp.prune.data import Batch, Loss, batch_of, batches_of
from sparsecomp.prune.elements import Outcome, check_fits, prune_elements
from sparsecomp.prune.groups import find_groups
from sparsecomp.prune.masks import write_parameters
from sparsecomp.prune.patterns import NM, Pattern, Structured, parse_pattern
from sparsecomp.prune.repair import restore_batch_norm
from sparsecomp.prune.result import LayerReport, Pruned, PruneReport
from sparsecomp.prune.scores import Score, Task, parse_score
from sparsecomp.prune.structured import prune_groups
from sparsecomp.prune.weights import Weight, check_finite, find_weights

SLACK = 0.02
"""How much less sparse than asked for a result may be: blocks and layers do not divide evenly."""


@dataclass(frozen=True)
class Request:
    """What is asked for, checked as far as that goes without the model.

    ``must_meet``: whether a result that is less sparse than asked for is an error.
    """

    pattern: Pattern
    score: Score
    budget: Budget
    sparsity: float
    batches: tuple[Batch, ...] = ()
    example: Batch | None = None
    loss: Loss | None = None
    exclude: tuple[str, ...] | None = None
    repair: bool = False
    must_meet: bool = True


def request(
    args: Any = None,
    *,
    sparsity: float | None = None,
    pattern: str | Pattern = "unstructured",
    score: str | Score = "magnitude",
    budget: str | Mapping[str, float] | Budget = "uniform",
    data: Iterable[Any] | None = None,
    loss: Loss | None = None,
    exclude: Iterable[str] | None = None,
    repair: bool = False,
) -> Request:
    """See `sparsecomp.prune` for the arguments.

    Raises:
        PruneError: an argument is wrong, or one that the method needs is missing.
    """
    how, by, over = parse_pattern(pattern), parse_score(score), parse_budget(budget)
    batches = tuple(batches_of(data)) if data is not None else ()
    example = batch_of(args) if args is not None else next(iter(batches), None)
    calibration = "data, an iterable of the model's positional inputs such as [args]"
    for given, needed, who, what in (
        (data, by.needs_data, f"score {by.name!r}", calibration),
        (data, repair, "repair", calibration),
        (loss, by.needs_loss, f"score {by.name!r}", "loss, a function of (outputs, target)"),
        (example, isinstance(how, Structured), f"pattern {how.name!r}", "args, example inputs"),
        (example, isinstance(over, Flops), f"budget {over.name!r}", "args, example inputs"),
    ):
        if needed and given is None:
            raise PruneError(f"prune: {who} needs {what}")
    names = (exclude,) if isinstance(exclude, str) else None if exclude is None else tuple(exclude)
    return Request(how, by, over, _sparsity(sparsity, how, over), batches, example, loss, names, repair)


def _sparsity(sparsity: float | None, pattern: Pattern, budget: Budget) -> float:
    if sparsity is not None:
        check_sparsity(sparsity)
    if isinstance(pattern, NM):
        if sparsity is not None and abs(1 - sparsity - pattern.density) > 1e-6:
            raise PruneError(
                f"prune: the budget cannot be met: {pattern.name} is {1 - pattern.density:g} sparse, not {sparsity:g}"
            )
        if not isinstance(budget, Uniform):
            raise PruneError(f"prune: {pattern.name} has one sparsity for all layers; leave budget away")
        return 1 - pattern.density
    if sparsity is None and not isinstance(budget, PerLayer):
        raise PruneError("prune: say how much: sparsity=, speedup=, latency_ms=, or a budget for each layer")
    return 0.0 if sparsity is None else sparsity


def prune_model(model: nn.Module | ExportedProgram, wanted: Request, dry_run: bool = False) -> Pruned:
    """Zeros in a copy of the model.

    Raises:
        PruneError: the model cannot be pruned as asked; it is unchanged, whatever happens.
    """
    start = time.perf_counter()
    task, left_out = prepare(model, wanted)
    outcome = _prune(task, wanted, left_out)
    notes = _finish(task, wanted)
    result = _result(model, task.module)
    report = _report(model, task, wanted, outcome, left_out, notes)
    _check_met(report, wanted, outcome)
    report = replace(report, seconds=time.perf_counter() - start)
    return Pruned(model if dry_run else result, outcome.masks, report)


def prepare(model: nn.Module | ExportedProgram, wanted: Request) -> tuple[Task, dict[str, str]]:
    """A copy of the model, in evaluation mode, to work on; and the weights that are left out, with the reason.

    Raises:
        PruneError: the model has no weights that can be pruned.
    """
    if not isinstance(model, nn.Module | ExportedProgram):
        raise PruneError(f"prune: expected a torch.nn.Module or an ExportedProgram, got {type(model).__name__}")
    weights = find_weights(model)
    parameters = _parameters(model)
    check_finite({name: parameters[name] for name in weights})
    left_out = _left_out(weights, wanted)
    module: nn.Module
    if isinstance(model, ExportedProgram):
        module = _owned(model).module(check_guards=False)
    else:
        module = copy.deepcopy(model).eval()
    return Task(module, weights, _batches(wanted), wanted.loss, 1 - wanted.sparsity), left_out


def _result(model: nn.Module | ExportedProgram, module: nn.Module) -> nn.Module | ExportedProgram:
    """What the user gets of the copy that was worked on."""
    if isinstance(model, ExportedProgram):
        result = _owned(model)
        write_parameters(result, {name: p.detach() for name, p in module.named_parameters()})
        return result
    for given, worked in zip(model.modules(), module.modules(), strict=True):
        worked.training = given.training
    return module


def _owned(exported: ExportedProgram) -> ExportedProgram:
    """The same program with weights of its own: torch refuses to save a deep copy, whose nodes are renamed."""
    result = copy.copy(exported)
    result._state_dict = copy.deepcopy(dict(exported.state_dict))
    return result


def _parameters(model: nn.Module | ExportedProgram) -> Mapping[str, Tensor]:
    if isinstance(model, ExportedProgram):
        return dict(model.state_dict)
    return dict(model.named_parameters(remove_duplicate=False))


def _batches(wanted: Request) -> list[Batch]:
    if wanted.batches:
        return list(wanted.batches)
    return [wanted.example] if wanted.example is not None else []


def _left_out(weights: Mapping[str, Weight], wanted: Request) -> dict[str, str]:
    """Weights that stay dense, and why."""
    if not weights:
        raise PruneError("prune: this model has no linear layer or convolution, so no weights that can be pruned")
    if wanted.exclude is not None:
        found = _named(weights, wanted.exclude)
    else:
        found = {} if isinstance(wanted.budget, PerLayer) else _by_default(weights, wanted.pattern)
    if len(found) == len(weights):
        raise PruneError("prune: exclude names every weight, so none is left to prune")
    return found


def _named(weights: Mapping[str, Weight], patterns: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pattern in patterns:
        fits = [w.name for w in weights.values() if fnmatchcase(w.name, pattern) or fnmatchcase(w.layer, pattern)]
        if not fits:
            raise PruneError(f"prune: exclude names {pattern!r}, which is none of: {', '.join(weights)}")
        found |= dict.fromkeys(fits, f"excluded by {pattern!r}")
    return found


def _by_default(weights: Mapping[str, Weight], pattern: Pattern) -> dict[str, str]:
    """The first convolution and the last linear layer, whose errors nothing makes up for (Gale et al. 2019)."""
    found: dict[str, str] = {}
    convolutions = [name for name, weight in weights.items() if weight.kind == "conv"]
    linears = [name for name, weight in weights.items() if weight.kind == "linear"]
    if convolutions:
        found[convolutions[0]] = "the first convolution"
    if linears:
        found[linears[-1]] = "the last linear layer"
    if not isinstance(pattern, Structured):
        found |= {w.name: "depthwise: an output reads one channel alone" for w in weights.values() if w.is_depthwise}
    return found if len(found) < len(weights) else {}


def _prune(task: Task, wanted: Request, left_out: dict[str, str]) -> Outcome:
    if isinstance(wanted.pattern, Structured):
        assert wanted.example is not None
        groups = find_groups(task.module, wanted.example, wanted.pattern.name, task.weights)
        open_groups = [group for group in groups if f"{group.name}.weight" not in left_out]
        if not open_groups:
            raise PruneError(f"prune: exclude leaves no {wanted.pattern.name} to remove")
        return prune_groups(task, open_groups, wanted.pattern, wanted.score, wanted.budget, wanted.repair)
    chosen = task.only(name for name in task.weights if name not in left_out)
    check_fits(chosen, wanted.pattern)
    outcome = prune_elements(chosen, wanted.pattern, wanted.score, wanted.budget, wanted.repair)
    left_out |= dict.fromkeys(
        [name for name in chosen.weights if name not in outcome.masks], "the data never reaches it as one product"
    )
    if not outcome.masks:
        raise PruneError("prune: the calibration data reaches none of the weights")
    return outcome


def _finish(task: Task, wanted: Request) -> tuple[str, ...]:
    if not wanted.repair:
        return ()
    anew = restore_batch_norm(task.module, task.batches)
    return ("statistics of batch normalisations counted anew",) if anew else ()


def _report(
    model: nn.Module | ExportedProgram,
    task: Task,
    wanted: Request,
    outcome: Outcome,
    left_out: Mapping[str, str],
    notes: tuple[str, ...],
) -> PruneReport:
    layers = []
    before, after = 0, 0
    given = _parameters(model)
    for name, weight in task.weights.items():
        tensor, mask = task.parameter(name).detach(), outcome.masks.get(name)
        nbytes = sizes(weight.matrix(tensor)).best[1] // 8
        before, after = before + given[name].numel() * given[name].element_size(), after + nbytes
        layers.append(
            LayerReport(
                name=name,
                shape=weight.shape,
                pattern=wanted.pattern.name if mask is not None else "",
                density=float(mask.float().mean()) if mask is not None else 1.0,
                note="" if mask is not None else left_out.get(name, ""),
                score=outcome.statistics.get(name, {}),
                bytes=nbytes,
            )
        )
    everything = list(task.module.parameters())
    return PruneReport(
        model=type(model).__name__,
        pattern=wanted.pattern.name,
        score=wanted.score.name,
        budget=wanted.budget.name,
        requested=wanted.sparsity,
        layers=tuple(layers),
        parameters=sum(p.numel() for p in everything),
        nonzeros=sum(int(torch.count_nonzero(p)) for p in everything),
        seconds=0.0,
        expected={"bytes_dense": before, "bytes_pruned": after},
        removed=outcome.removed,
        notes=notes,
    )


def _check_met(report: PruneReport, wanted: Request, outcome: Outcome) -> None:
    if isinstance(wanted.budget, PerLayer | Flops) or not wanted.must_meet:
        return
    if isinstance(wanted.pattern, Structured):
        _check_slices(outcome, wanted.pattern, wanted.sparsity)
        return
    if report.sparsity < wanted.sparsity - SLACK:
        raise PruneError(
            f"prune: the budget cannot be met: {100 * report.sparsity:.1f} % zeros, not {100 * wanted.sparsity:.1f} %; "
            "a layer keeps one block at least, so ask for less, or for smaller blocks"
        )


def _check_slices(outcome: Outcome, pattern: Structured, sparsity: float) -> None:
    """Each group may miss the budget by what rounding costs: half a slice, or the multiple that is kept."""
    gone, count = (sum(each[place] for each in outcome.counts) for place in (0, 1))
    rounding = len(outcome.counts) * (pattern.multiple if pattern.multiple > 1 else 0.5)
    if gone < (sparsity - SLACK) * count - rounding:
        raise PruneError(
            f"prune: the budget cannot be met: {gone} of {count} {pattern.name} can go, not {100 * sparsity:.1f} %; "
            "one of each group stays, so ask for less"
        )

"""The verb that makes zeros."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from torch.export import ExportedProgram

from sparsecomp.errors import PruneError
from sparsecomp.expected import with_expected
from sparsecomp.latency import prune_to_latency
from sparsecomp.layer_times import fast_pattern
from sparsecomp.prune.budgets import Budget
from sparsecomp.prune.data import Loss
from sparsecomp.prune.patterns import NM, Pattern, parse_pattern
from sparsecomp.prune.result import Pruned
from sparsecomp.prune.run import prune_model, request
from sparsecomp.prune.scores import Score
from sparsecomp.targets import Target, resolve


def prune(
    model: nn.Module | ExportedProgram,
    args: Any = None,
    *,
    sparsity: float | None = None,
    latency_ms: float | None = None,
    speedup: float | None = None,
    pattern: str | Pattern = "unstructured",
    score: str | Score = "magnitude",
    budget: str | Mapping[str, float] | Budget = "uniform",
    data: Iterable[Any] | None = None,
    loss: Loss | None = None,
    exclude: Iterable[str] | None = None,
    repair: bool = False,
    target: str | Target = "native",
    dry_run: bool = False,
) -> Pruned:
    """Write zeros into a copy of a model; the model itself is not changed.

    Say how much by one of ``sparsity``, ``latency_ms``, ``speedup``, an N:M pattern, or a budget for each layer.

    Args:
        model: a module, or the result of ``torch.export.export``.
        args: positional example inputs (a tuple, or one tensor), or ``(args, kwargs)``. Slices and latencies need them.
        sparsity: the share of the weights that become zero, from 0 to below 1; of slices for patterns of slices.
        latency_ms: milliseconds that one call of the compiled model is to take on ``args``, measured on this machine.
        speedup: the same, as a multiple of the speed of the compiled dense model.
        pattern: ``"unstructured"``, ``"block4x1"`` (4 outputs by 1 input), ``"2:4"``, ``"channels"``, ``"heads"``,
            ``"neurons"``, ``"layers"``, or ``"auto"``: the blocks that are predicted to be fast on ``target``;
            ``"channels/16"`` keeps multiples of 16 of large groups, ``"channels/auto"`` of the target's vectors.
        score: what the weights that go are chosen by: ``"magnitude"``, ``"random"``, ``"wanda"``, ``"sparsegpt"``,
            ``"taylor"``, ``"snip"``, ``"synflow"``, ``"grasp"``, ``"obd"``, ``"woodfisher"``, ``"apoz"``,
            ``"variance"``, ``"reconstruction"``, or a `Score`.
        budget: how layers share the zeros: ``"uniform"``, ``"global"``, ``"er"``, ``"erk"``, ``"flops"``, or a
            dictionary of sparsities by layer.
        data: calibration data: an iterable of positional inputs, ``(args, kwargs)`` or ``(args, kwargs, target)``.
        loss: ``loss(outputs, target)`` gives one number to differentiate, for scores that do.
        exclude: names of layers to leave dense, ``*`` allowed; by default the first convolution and the last linear.
        repair: fit what stays to the outputs of the model on ``data``.
        target: the name of a target or a `Target`, for ``"auto"`` and latencies.
        dry_run: compute masks and report, and give the model itself.

    Returns:
        The pruned model, its masks and a report.

    Raises:
        PruneError: it cannot be done as asked.
        TargetError: there is no such target, or latencies are to be measured on another machine.
    """
    device = resolve(target)
    if sum(given is not None for given in (sparsity, latency_ms, speedup)) > 1:
        raise PruneError("prune: give one of sparsity, latency_ms and speedup")
    pattern = parse_pattern(fast_pattern(device, sparsity, pattern) if isinstance(pattern, str) else pattern)
    goal = latency_ms is not None or speedup is not None
    wanted = request(
        args,
        sparsity=None if goal and isinstance(pattern, NM) else 0.0 if goal else sparsity,
        pattern=pattern,
        score=score,
        budget=budget,
        data=data,
        loss=loss,
        exclude=exclude,
        repair=repair,
    )
    if goal:
        return prune_to_latency(model, wanted, device, latency_ms, speedup, dry_run)
    return with_expected(prune_model(model, wanted, dry_run), wanted, device)

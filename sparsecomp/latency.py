"""Pruning to a latency: how sparse each layer must be for the compiled model to take so many milliseconds.

Layers get their sparsity from the times that their kernels take at each level, as tuning measured them, else as they
are predicted, so that those which zeros do not make faster stay dense. The whole is then compiled, measured in turns
with the dense model, and corrected until it fits.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.export import ExportedProgram

from sparsecomp.errors import PruneError, TargetError, TuneError
from sparsecomp.kernels.cost import WeightStats
from sparsecomp.kernels.problem import Problem
from sparsecomp.layer_times import layer_seconds, problems_of, stats_of
from sparsecomp.prune.budgets import PerLayer, Uniform
from sparsecomp.prune.elements import check_fits
from sparsecomp.prune.patterns import NM, Block, Structured
from sparsecomp.prune.result import Pruned
from sparsecomp.prune.run import Request, prepare, prune_model
from sparsecomp.prune.scores import Task
from sparsecomp.stopwatch import Stopwatch
from sparsecomp.targets import Target, obstacle
from sparsecomp.tune.records import Records, location

LEVELS = (0.0, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98)
TOLERANCE = 0.05
TRIALS = 12
TRUSTED = 3  # of the last measurements: a machine that changed its speed makes older ones contradict them

Dial = Callable[[float], Request]
"""From a setting, 0 the fastest and 1 dense, to what is asked of pruning."""


def prune_to_latency(
    model: nn.Module | ExportedProgram,
    wanted: Request,
    target: Target,
    latency_ms: float | None,
    speedup: float | None,
    dry_run: bool = False,
) -> Pruned:
    """The least pruning with which the compiled model is as fast as asked.

    Raises:
        PruneError: the model cannot be made that fast.
        TargetError: the target is another machine, where nothing can be measured.
    """
    if (why := obstacle(target)) is not None:
        raise TargetError(f"prune: latencies are measured, and {target.name} does not run here: {why}")
    if wanted.example is None:
        raise PruneError("prune: a latency needs args, the example inputs that it is measured with")
    if isinstance(wanted.pattern, NM):
        raise PruneError(f"prune: {wanted.pattern.name} has one sparsity only; a latency cannot be chosen")
    if not isinstance(wanted.budget, Uniform):
        raise PruneError("prune: a latency decides how sparse each layer becomes; leave budget away")
    _check_goal(latency_ms, speedup)
    watch = Stopwatch(model, wanted.example, target)
    goal = latency_ms if latency_ms is not None else watch.dense_ms / (speedup or 1.0)
    dial = _slices_dial(wanted) if isinstance(wanted.pattern, Structured) else _layers_dial(model, wanted, target)
    if goal >= watch.dense_ms:
        pruned, reached = prune_model(model, dial(1.0), dry_run), watch.dense_ms
    else:
        pruned, reached = _search(model, dial, goal, watch)
    expected = {**pruned.report.expected, "ms_goal": goal, "ms_dense": watch.dense_ms, "ms_pruned": reached}
    return Pruned(model if dry_run else pruned.model, pruned.masks, replace(pruned.report, expected=expected))


def _check_goal(latency_ms: float | None, speedup: float | None) -> None:
    for value, name in ((latency_ms, "latency_ms"), (speedup, "speedup")):
        if value is not None and not value > 0:
            raise PruneError(f"prune: {name} must be above 0, not {value}")


def _search(model: nn.Module | ExportedProgram, dial: Dial, goal: float, watch: Stopwatch) -> tuple[Pruned, float]:
    """Settings by interpolation between measured ones, until one is within the tolerance of the goal."""
    dense_ms = watch.dense_ms
    points = [(1.0, dense_ms)]
    best: tuple[Pruned, float] | None = None
    setting = max(0.0, goal / dense_ms - 0.15)
    for _ in range(TRIALS):
        pruned = prune_model(model, dial(setting))
        reached = watch.measure(pruned.model, goal)
        points.append((setting, reached))
        if reached <= goal * (1 + TOLERANCE) and (best is None or reached > best[1]):
            best = pruned, reached
        if abs(reached / goal - 1) <= TOLERANCE * 0.8 or (setting == 0.0 and reached > goal):
            break
        setting = next_setting([points[0], *points[-TRUSTED:]], goal)
    if best is None:
        fastest = min(ms for _, ms in points)
        raise PruneError(
            f"prune: the budget cannot be met: the fastest measured is {fastest:.2f} ms (dense {dense_ms:.2f} ms), "
            f"asked for {goal:.2f} ms; try pattern='block4x1' or 'auto', or exclude less"
        )
    return best


def next_setting(points: Sequence[tuple[float, float]], goal: float) -> float:
    """Where the line between the next slower and the next faster setting meets the goal, but well between the two."""
    slower = min((p for p in points if p[1] > goal), default=(1.0, goal))
    faster = max((p for p in points if p[1] <= goal), default=None)
    if faster is None:
        lowest, second = sorted(points)[:2] if len(points) > 1 else (points[0], points[0])
        slope = (second[1] - lowest[1]) / max(second[0] - lowest[0], 1e-9)
        guess = lowest[0] - (lowest[1] - goal * 0.98) / slope if slope > 0 else 0.0
        return max(0.0, min(guess, lowest[0] - 0.02))
    share = (goal - faster[1]) / (slower[1] - faster[1])
    return faster[0] + min(max(share, 0.25), 0.75) * (slower[0] - faster[0])


def _slices_dial(wanted: Request) -> Dial:
    """The share of slices that stays."""
    return lambda setting: replace(wanted, sparsity=min(1 - max(setting, 0.02), 0.98), must_meet=False)


@dataclass(frozen=True)
class Option:
    """One layer at one level of sparsity: the share of its score that is lost, and predicted seconds."""

    sparsity: float
    lost: float
    seconds: float


def _layers_dial(model: nn.Module | ExportedProgram, wanted: Request, target: Target) -> Dial:
    """The time that the kernels may take together, between the least and that of dense ones."""
    assert isinstance(wanted.pattern, Block) and wanted.example is not None
    task, left_out = prepare(model, wanted)
    task = task.only(name for name in task.weights if name not in left_out)
    check_fits(task, wanted.pattern)
    options = options_of(task, wanted, target)
    dense = sum(each[0].seconds for each in options.values())
    least = sum(min(option.seconds for option in each) for each in options.values())

    def request(setting: float) -> Request:
        chosen = allocate(options, least + setting * (dense - least))
        return replace(wanted, budget=PerLayer({n: s for n, s in chosen.items() if s > 0}), exclude=tuple(left_out))

    return request


def options_of(task: Task, wanted: Request, target: Target) -> dict[str, list[Option]]:
    """For each weight that kernels are predicted for, what each level costs; the first is dense."""
    assert isinstance(wanted.pattern, Block) and wanted.example is not None
    problems = problems_of(task, wanted.example)
    measured = _on_record(target)
    scores = wanted.score.elements(task)
    found: dict[str, list[Option]] = {}
    for name in [each for each in scores if each in problems]:
        units = wanted.pattern.units(scores[name]).flatten().double().sort().values
        mass = torch.cat([torch.zeros(1, dtype=torch.float64), units.cumsum(0)]) / units.sum().clamp(min=1e-300)
        found[name] = [
            Option(
                level,
                float(mass[round(level * units.numel())]),
                sum(measured(p, stats) or layer_seconds(p, stats, target) for p in problems[name]),
            )
            for level, stats in ((level, stats_of(wanted.pattern, 1 - level)) for level in LEVELS)
        ]
    return found


def _on_record(target: Target) -> Callable[[Problem, WeightStats], float | None]:
    """The seconds of a layer that tuning has measured; records that cannot be read are as good as none."""
    with contextlib.suppress(TuneError), Records(location(), write=False) as records:
        return records.fastest(target)
    return lambda _problem, _stats: None


def allocate(options: Mapping[str, Sequence[Option]], seconds: float) -> dict[str, float]:
    """A sparsity for each layer: the least loss of score with which the times add up to ``seconds`` at most.

    For a price of time, every layer takes what costs least; the price is found by bisection (Lagrange), and between the
    two prices next to the budget sparsities are interpolated.
    """

    def at(price: float) -> dict[str, Option]:
        return {n: min(each, key=lambda o: (o.lost + price * o.seconds, o.sparsity)) for n, each in options.items()}

    total = sum(each[0].seconds for each in options.values())
    low, high = 0.0, 1e6 * len(options) / max(total, 1e-12)
    for _ in range(100):
        middle = (low * high) ** 0.5 if low > 0 else high / 1e4
        if sum(option.seconds for option in at(middle).values()) > seconds:
            low = middle
        else:
            high = middle
    slower, faster = at(low), at(high)
    least, most = (sum(option.seconds for option in each.values()) for each in (faster, slower))
    share = min(max((seconds - least) / (most - least), 0.0), 1.0) if most > least else 0.0
    return {n: o.sparsity + share * (slower[n].sparsity - o.sparsity) for n, o in faster.items()}

"""The time of each layer as the cost model has it, for every pattern and sparsity."""

from functools import lru_cache

import torch

from sparsecomp.kernels.cost import PANEL_ROWS, WeightStats, predict
from sparsecomp.kernels.problem import ConvProblem, LinearProblem, Problem
from sparsecomp.kernels.space import space
from sparsecomp.prune.data import Batch
from sparsecomp.prune.observe import Use, run_batch, watching
from sparsecomp.prune.patterns import Block
from sparsecomp.prune.scores import Task
from sparsecomp.targets import Target

AUTO_SLACK = 1.15


def fast_pattern(target: Target, sparsity: float | None, pattern: str = "auto") -> str:
    """The pattern that ``"auto"`` stands for on a target; other names stand for themselves.

    Alone it is the finest blocks that are nearly as fast as the fastest on a middling linear layer; after a kind of
    slices (``"channels/auto"``), to keep as many as fill whole vectors.

    Args:
        target: the device.
        sparsity: that the model is to have; 0.8 if it is not known yet.
        pattern: as a user writes it.
    """
    if pattern != "auto":
        return pattern.replace("/auto", f"/{target.lanes}")
    problem, density = LinearProblem(128, 768, 768), 1 - (0.8 if sparsity is None else sparsity)
    seconds = {rows: layer_seconds(problem, stats_of(Block(rows, 1), density), target) for rows in PANEL_ROWS}
    return Block(next(rows for rows in PANEL_ROWS if seconds[rows] <= AUTO_SLACK * min(seconds.values())), 1).name


def stats_of(pattern: Block, density: float) -> WeightStats:
    """What kernels see of a weight whose blocks stay with probability ``density``."""
    return WeightStats(tuple(1 - (1 - density) ** max(1, rows // pattern.rows) for rows in PANEL_ROWS))


@lru_cache(maxsize=4096)
def layer_seconds(problem: Problem, stats: WeightStats, target: Target) -> float:
    """Seconds of the fastest schedule for a layer."""
    return predict(problem, stats, space(problem, stats, target)[0], target)


def problems_of(task: Task, example: Batch) -> dict[str, list[Problem]]:
    """What the kernels are asked for in one call of the model, by weight; depthwise convolutions have other kernels."""
    found: dict[str, list[Problem]] = {}

    def see(name: str, use: Use) -> None:
        problem = _problem(use, task.weights[name].outputs)
        if problem is not None and not task.weights[name].is_depthwise:
            found.setdefault(name, []).append(problem)

    with torch.no_grad(), watching(task.module, task.weights, see):
        run_batch(task.module, example)
    return found


def _problem(use: Use, outputs: int) -> Problem | None:
    if not use.kernel:
        return LinearProblem(use.positions, use.x.shape[-1], outputs)
    if len(use.kernel) > 2:
        return None
    flat = len(use.kernel) == 1
    kernel, stride, dilation = (((1, v[0]) if flat else (v[0], v[1])) for v in (use.kernel, use.stride, use.dilation))
    down, across = (0, use.padding[0]) if flat else (use.padding[0], use.padding[1])
    batch, channels, *size = use.x.shape
    height, width = (1, size[0]) if flat else size
    padding = (down, down, across, across)
    return ConvProblem(batch, channels, outputs, height, width, kernel, stride, padding, dilation, use.groups)

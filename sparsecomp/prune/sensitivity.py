"""How much each layer minds being pruned: a metric over sparsity, one layer at a time."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparsecomp.errors import PruneError
from sparsecomp.prune.budgets import check_sparsity
from sparsecomp.prune.data import Batch, batches_of, outputs_of
from sparsecomp.prune.masks import write_parameters
from sparsecomp.prune.observe import run_batch
from sparsecomp.prune.run import prune_model, request
from sparsecomp.prune.scores import Score

Metric = Callable[[nn.Module, list[Batch]], float]

LEVELS = (0.5, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Sensitivity:
    """A metric for each layer and sparsity.

    Attributes:
        dense: the metric of the model as it is.
        levels: sparsities.
        values: for each weight the metric at each level, all other weights dense.
    """

    dense: float
    levels: tuple[float, ...]
    values: Mapping[str, tuple[float, ...]]

    def plot(self, path: str | Path) -> None:
        """Draw one line a layer to a file; needs matplotlib.

        Raises:
            PruneError: matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as e:
            raise PruneError("prune: plotting needs matplotlib: pip install matplotlib") from e
        figure = Figure(figsize=(8, 5), layout="constrained")
        axes = figure.subplots()
        for name, values in self.values.items():
            axes.plot([100 * level for level in (0.0, *self.levels)], [self.dense, *values], marker=".", label=name)
        axes.set(xlabel="sparsity of the layer, %", ylabel="metric")
        axes.legend(fontsize="x-small")
        figure.savefig(path, dpi=150)


def relative_change(model: nn.Module, batches: list[Batch], reference: Sequence[torch.Tensor]) -> float:
    """``||y - ref|| / ||ref||`` over all batches."""
    difference, scale = 0.0, 0.0
    outputs = (y for batch in batches for y in outputs_of(run_batch(model, batch)))
    for y, expected in zip(outputs, reference, strict=True):
        difference += float((y - expected).double().square().sum())
        scale += float(expected.double().square().sum())
    return float((difference / max(scale, 1e-30)) ** 0.5)


def sensitivity(
    model: nn.Module,
    data: Iterable[Any],
    metric: Callable[[nn.Module], float] | None = None,
    levels: Sequence[float] = LEVELS,
    *,
    pattern: str = "unstructured",
    score: str | Score = "magnitude",
    exclude: Sequence[str] = (),
) -> Sensitivity:
    """The metric of the model with one layer pruned to each level, for all layers in turn.

    Args:
        model: in evaluation mode; it is not changed.
        data: as `sparsecomp.prune` takes it.
        metric: of a model; if not given, the relative change of the outputs on ``data``.
        levels: sparsities.
        pattern: as `sparsecomp.prune` takes it, without slices.
        score: as `sparsecomp.prune` takes it.
        exclude: names of layers to leave away, ``*`` allowed.

    Raises:
        PruneError: there is no data, or a level is outside of [0, 1).
    """
    batches = batches_of(data)
    for level in levels:
        check_sparsity(level)
    with torch.no_grad():
        reference = [y for batch in batches for y in outputs_of(run_batch(model, batch))]

        def measured(candidate: nn.Module) -> float:
            return relative_change(candidate, batches, reference) if metric is None else float(metric(candidate))

        dense, values = measured(model), {}
        candidates = [
            prune_model(model, request(sparsity=level, pattern=pattern, score=score, data=batches, exclude=exclude))
            for level in levels
        ]
        work = candidates[0].model
        original = {name: p.detach().clone() for name, p in model.named_parameters()}
        write_parameters(work, original)
        for name in candidates[0].masks:
            found = []
            for each in candidates:
                write_parameters(work, {name: original[name] * each.masks[name]})
                found.append(measured(work))
            write_parameters(work, {name: original[name]})
            values[name] = tuple(found)
    return Sensitivity(dense, tuple(levels), values)

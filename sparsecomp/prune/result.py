"""What pruning gives: the model with zeros, the masks, and a report of both."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from sparsecomp.errors import PruneError
from sparsecomp.inspect.notebook import prune_html
from sparsecomp.prune.masks import bake_masks, parametrize_masks, save_masks


@dataclass(frozen=True)
class LayerReport:
    """One weight.

    Attributes:
        name: of the parameter.
        shape: of the parameter.
        pattern: where its zeros stand; empty where it stays dense.
        density: share of its entries that may be nonzero.
        note: why it was left dense; empty otherwise.
        score: ``mean_kept``, ``mean_zeroed`` and ``lost``, the share of the whole score that was zeroed; empty where
            the method gives no scores before it decides.
        bytes: in the smallest storage format.
    """

    name: str
    shape: tuple[int, ...]
    pattern: str
    density: float
    note: str = ""
    score: Mapping[str, float] = field(default_factory=dict)
    bytes: int = 0


@dataclass(frozen=True)
class PruneReport:
    """What was pruned.

    Attributes:
        model: name of the model's class.
        pattern, score, budget: as asked for.
        requested: sparsity asked for, None where the pattern or a latency decided.
        layers: every weight of a linear or convolution, with those that stay dense and why.
        parameters, nonzeros: of the whole model, all parameters counted.
        seconds: that pruning took.
        expected: predictions, where they were made: ``bytes_dense``, ``bytes_pruned`` (weights in the smallest storage
            format), ``flop_ratio`` (multiplications left), ``ms_dense``, ``ms_pruned`` (the layers' kernels).
        removed: for patterns of slices, for each group of layers how many slices of how many are zero.
        notes: what else there is to know.
    """

    model: str
    pattern: str
    score: str
    budget: str
    requested: float | None
    layers: tuple[LayerReport, ...]
    parameters: int
    nonzeros: int
    seconds: float
    expected: Mapping[str, float] = field(default_factory=dict)
    removed: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def sparsity(self) -> float:
        """Share of zeros in the layers that were pruned."""
        pruned = [layer for layer in self.layers if layer.pattern]
        size = sum(_size(layer) for layer in pruned)
        return 1 - sum(layer.density * _size(layer) for layer in pruned) / size if size else 0.0

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self) | {"sparsity": self.sparsity}

    def to_json(self, path: str | Path) -> None:
        """Write the report to a file."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")

    def to_markdown(self) -> str:
        """A table of the layers."""
        head = "| weight | shape | pattern | density | score lost | note |\n|---|---|---|---|---|---|\n"
        rows = [
            f"| {layer.name} | {'×'.join(map(str, layer.shape))} | {layer.pattern or 'dense'} | {layer.density:.3f} | "
            f"{layer.score.get('lost', float('nan')):.3f} | {layer.note} |\n"
            for layer in self.layers
        ]
        return head + "".join(rows)

    def _repr_html_(self) -> str:
        """The weights as a table, for notebooks."""
        return prune_html(self.to_dict(), str(self).splitlines()[0])

    def __str__(self) -> str:
        pruned = sum(1 for layer in self.layers if layer.pattern)
        first = (
            f"{self.model}: {self.pattern} by {self.score}, {self.budget}: {100 * self.sparsity:.1f} % zeros in "
            f"{pruned} of {len(self.layers)} weights, {self.nonzeros / 1e6:.2f} of {self.parameters / 1e6:.2f} M "
            f"parameters left, {self.seconds:.1f} s"
        )
        lines = [first]
        if self.expected:
            lines.append("expected " + ", ".join(f"{name} {value:.4g}" for name, value in self.expected.items()))
        lines += [f"dense    {layer.name}: {layer.note}" for layer in self.layers if layer.note]
        lines += [f"removed  {name}: {what}" for name, what in self.removed.items()]
        lines += [f"note     {note}" for note in self.notes]
        return "\n".join(lines)


def _size(layer: LayerReport) -> int:
    size = 1
    for side in layer.shape:
        size *= side
    return size


@dataclass(frozen=True, eq=False)
class Pruned:
    """A pruned model.

    Attributes:
        model: a new model of the same class with zeros in its weights; the given one itself after a dry run.
        masks: for each pruned parameter by name, in its shape: True for entries that stay.
        report: what was done.
    """

    model: Any
    masks: Mapping[str, Tensor]
    report: PruneReport

    def _repr_html_(self) -> str:
        """The report, for notebooks."""
        return self.report._repr_html_()

    def save_masks(self, path: str | Path) -> None:
        """Write the masks to a safetensors file; `sparsecomp.prune.masks.load_masks` reads it."""
        save_masks(self.masks, path)

    def parametrize(self) -> nn.Module:
        """Keep zeros zero while `model` is trained on; returns the model, changed in place.

        Works under ``DistributedDataParallel`` if called before wrapping. `bake` makes a plain module of it again.

        Raises:
            PruneError: the model is an exported program, which is not trained; or this is a dry run, and so the model
                the one that was given.
        """
        if isinstance(self.model, ExportedProgram):
            raise PruneError("prune: an ExportedProgram is not trained; prune the nn.Module that it came from")
        module: nn.Module = self.model
        given = dict(module.named_parameters(remove_duplicate=False))
        if any(bool(given[name][~mask].any()) for name, mask in self.masks.items() if name in given):
            raise PruneError("prune: a dry run has no model of its own to train; prune without dry_run")
        return parametrize_masks(module, self.masks)

    def bake(self) -> nn.Module:
        """After `parametrize` and training: the same model with plain parameters that have the zeros in them."""
        module: nn.Module = self.model
        return bake_masks(module)


def score_statistics(scores: Tensor, mask: Tensor) -> dict[str, float]:
    """What a `LayerReport` says of the scores of a weight."""
    kept, zeroed = scores.where(mask, 0.0), scores.where(~mask, 0.0)
    count = int(mask.sum())
    total, lost = (float(torch.linalg.vector_norm(each, 1)) for each in (scores, zeroed))
    return {
        "mean_kept": float(kept.sum()) / max(count, 1),
        "mean_zeroed": float(zeroed.sum()) / max(mask.numel() - count, 1),
        "lost": lost / total if total > 0 else 0.0,
    }

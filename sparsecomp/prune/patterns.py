"""Where zeros may stand in one weight: anywhere, in blocks, or in every group of m.

A pattern is a value. It works on the matrix form of a weight (`Weight.matrix`) and divides it into *units* that are
kept or zeroed as one.
"""

import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from sparsecomp.errors import PruneError
from sparsecomp.prune.weights import Weight

STRUCTURED = ("channels", "heads", "neurons", "layers")
"""Patterns that zero slices of several layers at once; see `sparsecomp.prune.groups`."""


@dataclass(frozen=True)
class Block:
    """Blocks of ``rows`` outputs by ``columns`` inputs; (1, 1) is unstructured.

    The shape that kernels like is tall: ``Block(4, 1)`` shares one index among four outputs, which a register tile
    computes together (survey, section 3.1).
    """

    rows: int = 1
    columns: int = 1
    step: ClassVar[None] = None

    @property
    def name(self) -> str:
        """As a user writes it."""
        return "unstructured" if (self.rows, self.columns) == (1, 1) else f"block{self.rows}x{self.columns}"

    def obstacle(self, weight: Weight) -> str | None:
        """Why it does not fit the weight, or None."""
        if weight.outputs // weight.groups % self.rows:
            return f"{weight.outputs // weight.groups} outputs are no multiple of {self.rows}"
        if weight.inputs % self.columns:
            return f"{weight.inputs} inputs are no multiple of {self.columns}"
        return None

    def units(self, scores: Tensor) -> Tensor:
        """Sum of the scores in each block, ``[outputs / rows, columns / columns of a block]``."""
        rows, columns = scores.shape
        if (self.rows, self.columns) == (1, 1):
            return scores
        return scores.reshape(rows // self.rows, self.rows, columns // self.columns, self.columns).sum(dim=(1, 3))

    def mask(self, scores: Tensor, density: float, per_output: bool = False) -> Tensor:
        """True for the blocks with the largest sums, ``round(density * blocks)`` of them but at least one.

        With ``per_output``, each row of blocks keeps that share of its own.
        """
        units = self.units(scores)
        if per_output:
            best = units.topk(max(1, round(density * units.shape[1])), dim=1).indices
            kept = torch.zeros_like(units, dtype=torch.bool).scatter_(1, best, True)
        else:
            kept = keep_top(units.flatten(), max(1, round(density * units.numel()))).view(units.shape)
        if (self.rows, self.columns) == (1, 1):
            return kept
        return kept.repeat_interleave(self.rows, 0).repeat_interleave(self.columns, 1)


@dataclass(frozen=True)
class NM:
    """At most ``n`` of every ``m`` neighbouring inputs of an output are not zero (2:4 is NVIDIA's Ampere pattern)."""

    n: int
    m: int

    @property
    def name(self) -> str:
        """As a user writes it."""
        return f"{self.n}:{self.m}"

    @property
    def density(self) -> float:
        """The share that stays, whatever the budget says."""
        return self.n / self.m

    @property
    def step(self) -> int:
        """Columns of a matrix that are decided on together."""
        return self.m

    def obstacle(self, weight: Weight) -> str | None:
        """Why it does not fit the weight, or None."""
        return f"{weight.inputs} inputs are no multiple of {self.m}" if weight.inputs % self.m else None

    def units(self, scores: Tensor) -> Tensor:
        """The scores themselves: every entry is kept or zeroed alone."""
        return scores

    def mask(self, scores: Tensor, density: float, per_output: bool = True) -> Tensor:
        """True for the ``n`` largest of every ``m``; ``density`` is ``n / m``, and outputs compete alone anyway."""
        del per_output
        assert density == self.density
        groups = scores.reshape(-1, self.m)
        best = groups.topk(self.n, dim=1).indices
        return torch.zeros_like(groups, dtype=torch.bool).scatter_(1, best, True).view(scores.shape)


@dataclass(frozen=True)
class Structured:
    """Whole slices, alike in all layers that they tie together, so that compile can cut them out.

    Attributes:
        name: ``"channels"`` (any output of a linear or convolution, with what depends on it), ``"heads"`` (of
            attention; a group of them where keys are shared), ``"neurons"`` (between the two linear layers of a
            feed-forward part) or ``"layers"`` (whole residual branches).
        multiple: keep a multiple of so many slices of a group where that leaves any, as vector kernels prefer.
    """

    name: str
    multiple: int = 1


Pattern = Block | NM | Structured


def parse_pattern(pattern: str | Pattern) -> Pattern:
    """The pattern that a name stands for.

    Raises:
        PruneError: there is none; the message lists those there are.
    """
    if not isinstance(pattern, str):
        return pattern
    if pattern == "unstructured":
        return Block()
    if match := re.fullmatch(rf"({'|'.join(STRUCTURED)})(?:/([1-9]\d*))?", pattern):
        return Structured(match[1], int(match[2] or 1))
    if match := re.fullmatch(r"block([1-9]\d*)x([1-9]\d*)", pattern):
        return Block(int(match[1]), int(match[2]))
    if (match := re.fullmatch(r"([1-9]\d*):([1-9]\d*)", pattern)) and int(match[1]) < int(match[2]):
        return NM(int(match[1]), int(match[2]))
    known = "unstructured, blockRxC (such as block4x1), N:M (such as 2:4), channels/16, auto, channels/auto"
    raise PruneError(f"prune: no pattern {pattern!r}; there are: {known}, {', '.join(STRUCTURED)}")


def keep_top(values: Tensor, count: int) -> Tensor:
    """True for the ``count`` largest of a vector; of equal ones the first."""
    if count >= values.numel():
        return torch.ones_like(values, dtype=torch.bool)
    if count <= 0:
        return torch.zeros_like(values, dtype=torch.bool)
    rank = values.numel() - count
    least = float(np.partition(values.numpy(force=True), rank)[rank])  # torch's kthvalue takes eight times as long
    kept = values > least
    ties = (values == least).nonzero().flatten()[: count - int(kept.sum())]
    kept[ties] = True
    return kept

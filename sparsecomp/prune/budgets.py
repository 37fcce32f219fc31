"""How many weights each layer keeps when the model as a whole is to keep a share of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import ClassVar

import torch
from torch import Tensor

from sparsecomp.errors import PruneError
from sparsecomp.prune.patterns import keep_top

MIN_DENSITY = 0.01


@dataclass(frozen=True, eq=False)
class Share:
    """What a budget knows of one layer.

    Attributes:
        name: of the weight.
        shape: of the weight, outputs first.
        size: weights that can be zeroed.
        uses: multiplications that one weight takes part in for one call of the model; 1 where unknown.
        scores: of the units (see `patterns`), by mean over the weights of a unit; None if the budget does not rank.
    """

    name: str
    shape: tuple[int, ...]
    size: int
    uses: int = 1
    scores: Tensor | None = None


@dataclass(frozen=True)
class Uniform:
    """Every layer keeps the same share."""

    ranks: ClassVar[bool] = False
    name: ClassVar[str] = "uniform"

    def densities(self, layers: Sequence[Share], density: float) -> dict[str, float]:
        """By name, the share of the weights that stay."""
        return {layer.name: density for layer in layers}


@dataclass(frozen=True)
class Global:
    """One threshold on the score for all layers; each keeps at least ``min_density``, so that none collapses."""

    min_density: float = MIN_DENSITY
    ranks: ClassVar[bool] = True
    name: ClassVar[str] = "global"

    def densities(self, layers: Sequence[Share], density: float) -> dict[str, float]:
        """By name, the share of the weights that stay.

        Raises:
            PruneError: the least densities alone are more than the budget.
        """
        _check_least(self.min_density, density)
        total = density * sum(layer.size for layer in layers)
        found: dict[str, float] = {}
        open_layers = list(layers)
        while open_layers:
            trial = _above_one_threshold(open_layers, total)
            starved = [layer for layer in open_layers if trial[layer.name] < self.min_density]
            if not starved:
                return found | trial
            found |= {layer.name: self.min_density for layer in starved}
            total -= sum(self.min_density * layer.size for layer in starved)
            open_layers = [layer for layer in open_layers if layer.name not in found]
        return found


def _above_one_threshold(layers: Sequence[Share], total: float) -> dict[str, float]:
    scores = [_scores(layer).flatten() for layer in layers]
    units = [each.numel() for each in scores]
    per_unit = sum(layer.size for layer in layers) / sum(units)
    kept = keep_top(torch.cat(scores), round(total / per_unit))
    return {
        layer.name: float(each.float().mean()) for layer, each in zip(layers, torch.split(kept, units), strict=True)
    }


@dataclass(frozen=True)
class ErdosRenyi:
    """Density proportional to ``(n_in + n_out) / (n_in n_out)`` (SET), with ``kernel`` to ``sum(shape) / prod(shape)``.

    A layer whose density would exceed 1 stays dense and the factor is solved again for the others (RigL, Evci et al.
    2020, ``sparse_utils.py``; survey, section 3.9).
    """

    kernel: bool = True
    ranks: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """As a user writes it."""
        return "erk" if self.kernel else "er"

    def densities(self, layers: Sequence[Share], density: float) -> dict[str, float]:
        """By name, the share of the weights that stay."""
        dense: set[str] = set()
        while True:
            total = density * sum(layer.size for layer in layers)
            total -= sum(layer.size for layer in layers if layer.name in dense)
            rest = [layer for layer in layers if layer.name not in dense]
            factor = total / sum(self.raw(layer.shape) * layer.size for layer in rest) if rest else 0.0
            above = {layer.name for layer in rest if factor * self.raw(layer.shape) > 1}
            if not above:
                break
            dense |= above
        return {layer.name: 1.0 if layer.name in dense else factor * self.raw(layer.shape) for layer in layers}

    def raw(self, shape: tuple[int, ...]) -> float:
        """The density up to the common factor."""
        sides = shape if self.kernel else shape[:2]
        product = 1
        for side in sides:
            product *= side
        return sum(sides) / product


@dataclass(frozen=True)
class Flops:
    """Multiplications instead of weights: the model keeps ``density`` of them, chosen by score per multiplication.

    A weight of an early convolution is used at many places and must be worth it (FLOP-aware WoodFisher divides the
    score in the same way; Singh and Alistarh 2020).
    """

    min_density: float = MIN_DENSITY
    ranks: ClassVar[bool] = True
    name: ClassVar[str] = "flops"

    def densities(self, layers: Sequence[Share], density: float) -> dict[str, float]:
        """By name, the share of the weights that stay.

        Raises:
            PruneError: the least densities alone are more than the budget.
        """
        _check_least(self.min_density, density)
        worth = [_scores(layer).flatten().double() / layer.uses for layer in layers]
        cost = [layer.size * layer.uses for layer in layers]
        low, high = 0.0, max(float(each.max()) for each in worth)
        found = [1.0] * len(layers)
        for _ in range(60):
            middle = (low + high) / 2
            found = [max(self.min_density, float((each > middle).double().mean())) for each in worth]
            spent = sum(share * each for share, each in zip(found, cost, strict=True)) / sum(cost)
            low, high = (middle, high) if spent > density else (low, middle)
        return {layer.name: share for layer, share in zip(layers, found, strict=True)}


@dataclass(frozen=True)
class PerLayer:
    """A sparsity for each layer, by its name or a pattern of names (``"encoder.*"``); the others stay dense."""

    sparsities: Mapping[str, float] = field(default_factory=dict)
    ranks: ClassVar[bool] = False
    name: ClassVar[str] = "per layer"

    def densities(self, layers: Sequence[Share], density: float) -> dict[str, float]:
        """By name, the share of the weights that stay; ``density`` is ignored.

        Raises:
            PruneError: a sparsity is outside of [0, 1), or a name fits no layer.
        """
        del density
        found = {layer.name: 1.0 for layer in layers}
        for key, sparsity in self.sparsities.items():
            check_sparsity(sparsity)
            fits = [name for name in found if fnmatchcase(name, key) or fnmatchcase(name.removesuffix(".weight"), key)]
            if not fits:
                raise PruneError(f"prune: the budget names {key!r}, which is none of: {', '.join(found)}")
            found.update(dict.fromkeys(fits, 1 - sparsity))
        return found


Budget = Uniform | Global | ErdosRenyi | Flops | PerLayer

BUDGETS: dict[str, Budget] = {
    "uniform": Uniform(),
    "global": Global(),
    "er": ErdosRenyi(kernel=False),
    "erk": ErdosRenyi(),
    "flops": Flops(),
}


def parse_budget(budget: str | Mapping[str, float] | Budget) -> Budget:
    """The budget that a name or a dictionary stands for.

    Raises:
        PruneError: there is none; the message lists those there are.
    """
    if isinstance(budget, str):
        if budget not in BUDGETS:
            raise PruneError(f"prune: no budget {budget!r}; there are: {', '.join(BUDGETS)}, or a dict of sparsities")
        return BUDGETS[budget]
    return PerLayer(dict(budget)) if isinstance(budget, Mapping) else budget


def check_sparsity(sparsity: float) -> None:
    """Whether this is a share of weights that can be zeroed.

    Raises:
        PruneError: it is outside of [0, 1).
    """
    if not isinstance(sparsity, int | float) or not 0 <= sparsity < 1:
        raise PruneError(f"prune: sparsity is a share from 0 to below 1, such as 0.9, not {sparsity!r}")


def _check_least(least: float, density: float) -> None:
    if least > density:
        raise PruneError(
            f"prune: the budget cannot be met: every layer keeps {least:.4f} at least, the model is to keep "
            f"{density:.4f}; give the budget a lower min_density"
        )


def _scores(layer: Share) -> Tensor:
    assert layer.scores is not None, f"no scores of {layer.name}"
    return layer.scores

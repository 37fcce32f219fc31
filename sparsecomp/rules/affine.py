"""Operators that apply known weights: linear, convolutions, matrix products with a parameter.

All are one map in channels, ``y[g, n] = bias[g, n] + sum over c, t of weight[g, n, c, t] * x[g, c]``, where ``t``
runs over the taps of a kernel. A result channel is constant if every input channel with a non-zero weight is. An
input channel is not needed if

* no kept result channel has a non-zero weight for it, or
* it is constant: then what it adds is known and moves into the bias. Where zero padding makes a non-zero constant end
  at the border, what it adds depends on the position, and a map of it is added to the result instead; or
* it equals another channel: then the weights of both are added up.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sparsecomp.facts import AxisFacts, TensorFacts, canonical, row_classes
from sparsecomp.rules.base import Cut, Keep, Rule, nothing_known
from sparsecomp.rules.call import Call, Value
from sparsecomp.rules.contraction import contract_demand
from sparsecomp.rules.relation import Relation
from sparsecomp.rules.table import FactTable

aten = torch.ops.aten
_CANCELLATION = 1e-4


@dataclass(frozen=True, eq=False)
class Affine:
    """A call with known weights.

    Attributes:
        source: the input and its channel axis.
        parameter: the weight, and the axis of it that is linked to the input channels.
        target_axis: the channel axis of the result.
        weight: ``(groups, n, c, taps)``.
        bias: ``(groups * n,)``, zeros if there is none.
        even: every result position sees every tap, so that a constant input gives a constant result.
    """

    source: tuple[Value, int]
    parameter: tuple[Value, int]
    target_axis: int
    weight: Tensor
    bias: Tensor
    even: bool

    @cached_property
    def connected(self) -> Tensor:
        """Float ``(groups, n, c)``: 1 where the result channel depends on the input channel, else 0."""
        nonzero = (self.weight != 0).float()
        return nonzero[..., 0] if nonzero.shape[3] == 1 else nonzero.amax(dim=3)

    @cached_property
    def finite(self) -> Tensor:
        """Bool ``(groups, c)``: all weights of the input channel are finite."""
        groups, _, channels, _ = self.weight.shape
        if bool(self.weight.sum().isfinite()):
            return torch.ones(groups, channels, dtype=torch.bool)
        return self.weight.isfinite().all(dim=3).all(dim=1)

    def reach(self, channels: Tensor) -> Tensor:
        """Bool ``(groups, n)``: result channels that depend on any of these input channels, ``(groups, c)``."""
        return torch.bmm(self.connected, channels.float()[:, :, None])[:, :, 0] > 0

    def sources(self, results: Tensor) -> Tensor:
        """Bool ``(groups, c)``: input channels that any of these result channels, ``(groups, n)``, depends on."""
        return torch.bmm(results.float()[:, None, :], self.connected)[:, 0, :] > 0

    def contribution(self, number: Tensor) -> tuple[Tensor, Tensor]:
        """What input channels filled with ``number``, ``(groups, c)``, add to the results; and its magnitude."""
        some = (number != 0).any(dim=0).nonzero().flatten()
        gain, number = self.weight[:, :, some].double(), number[:, None, some].double()
        terms, magnitudes = gain.sum(dim=3) * number, gain.abs().sum(dim=3) * number.abs()
        return terms.sum(dim=2).flatten(), magnitudes.sum(dim=2).flatten()

    def channels(self, facts: FactTable) -> AxisFacts:
        """What is known of the input channels."""
        return facts.known(*self.source)

    def per_group(self, channels: Tensor) -> Tensor:
        """A vector over all input channels as ``(groups, c)``."""
        return channels.reshape(self.weight.shape[0], -1)


Describe = Callable[[Call, FactTable], Affine | None]
AddBias = Callable[[Call, Cut, Affine, Tensor], None]


def affine_rule(relate: Callable[[Call], Relation], describe: Describe, add_bias: AddBias) -> Rule:
    """The rule of an operator that is affine when its weight is a parameter, and any contraction when it is not.

    Args:
        relate: names the input channels of one group ``c``, the result channels of one group ``n``, the groups ``g``.
        describe: the call as `Affine`; None where the weight is not known or something else stands in the way.
        add_bias: rewrites a call so that a vector over its kept result channels is added to the result.
    """

    def forward(call: Call, relation: Relation, facts: FactTable) -> list[TensorFacts]:
        affine = facts.once(call.node, lambda: describe(call, facts))
        if affine is None:
            return nothing_known(call, relation, facts)
        axes: list[AxisFacts | None] = [None] * len(call.output.shape)
        axes[affine.target_axis] = _result_channels(affine, facts, call.output.dtype)
        return [tuple(axes)]

    def demand(call: Call, relation: Relation, facts: FactTable, keep: Keep) -> dict[str, Tensor]:
        affine = facts.once(call.node, lambda: describe(call, facts))
        if affine is None or "c" not in relation.sizes:
            return contract_demand(call, relation, facts, keep)
        return {"c": _needed(affine, facts, keep).any(dim=0)}

    def narrow(call: Call, relation: Relation, cut: Cut, keep: Keep) -> None:
        affine = cut.facts.once(call.node, lambda: describe(call, cut.facts))
        if "groups" in call.arguments and "g" in keep:
            call.rewrite(groups=int(keep["g"].sum()))
        removed = ~_mask(cut, *affine.source) if affine is not None else None
        if affine is None or removed is None or not bool(removed.any()):
            return
        _merge_equal(affine, cut, removed)
        _fold_constants(call, affine, cut, removed, add_bias)

    return Rule(relate, forward, demand, narrow)


def _result_channels(affine: Affine, facts: FactTable, dtype: torch.dtype) -> AxisFacts:
    known = affine.channels(facts)
    usable = known.constant & known.value.isfinite() & (affine.even | (known.value == 0))
    added, scale = affine.contribution(affine.per_group(torch.where(usable, known.value, 0)))
    bias = affine.bias.double()
    value = added + bias
    depends = affine.reach(affine.per_group(~usable)).flatten()
    cancelled = (scale > 0) & (value.abs() < _CANCELLATION * (scale + bias.abs()))
    groups, per_group = affine.weight.shape[:2]
    inputs = canonical(affine.per_group(known.classes)).repeat_interleave(per_group) if groups > 1 else None
    rows = row_classes(affine.weight.reshape(groups * per_group, -1))
    biases = row_classes(affine.bias.reshape(-1, 1))
    labels = torch.stack((rows, biases) if inputs is None else (rows, biases, inputs), dim=1)
    return AxisFacts.of(~depends & ~cancelled & value.isfinite(), value.to(dtype), labels)


def _needed(affine: Affine, facts: FactTable, keep: Keep) -> Tensor:
    """Bool ``(groups, c)``: input channels that must be there."""
    groups, results, _, _ = affine.weight.shape
    rows = torch.ones(groups, results, dtype=torch.bool)
    rows &= keep["n"][None, :] if "n" in keep else True
    rows &= keep["g"][:, None] if "g" in keep else True
    used = affine.sources(rows)
    known = affine.channels(facts)
    needed = used & ~affine.per_group(_foldable(affine, known))
    if not _may_merge(affine):
        return needed
    first = torch.zeros_like(needed[0])
    first[known.classes[needed[0]]] = True
    return first[None, :]


def _foldable(affine: Affine, known: AxisFacts) -> Tensor:
    """Constant channels whose contribution can be computed here."""
    value, axis = affine.source
    fixed = affine.even or all(value.size(i) is not None for i in range(axis + 1, len(value.shape)))
    numbers = known.value.isfinite() & (torch.tensor(fixed) | (known.value == 0))
    return known.constant & numbers & affine.finite.flatten()


def _may_merge(affine: Affine) -> bool:
    return affine.weight.shape[0] == 1 and len(affine.parameter[0].node.users) == 1


def _merge_equal(affine: Affine, cut: Cut, removed: Tensor) -> None:
    """Add the weights of removed channels to those of the channels that they equal."""
    known = affine.channels(cut.facts)
    if not _may_merge(affine):
        return
    moved = (removed & ~_foldable(affine, known) & ~removed[known.classes]).nonzero().flatten()
    parameter, axis = affine.parameter
    data = cut.facts.data(parameter)
    if not len(moved) or data is None:
        return
    cut.replace(parameter, data.index_add(axis, known.classes[moved], data.index_select(axis, moved)))


def _fold_constants(call: Call, affine: Affine, cut: Cut, removed: Tensor, add_bias: AddBias) -> None:
    """Add what the removed constant channels contributed."""
    known = affine.channels(cut.facts)
    number = torch.where(removed & _foldable(affine, known), known.value, 0)
    if not bool(affine.reach(affine.per_group(number != 0)).any()):
        return
    if affine.even:
        added = affine.contribution(affine.per_group(number))[0]
        kept = cut.indices(call.output, affine.target_axis)
        add_bias(call, cut, affine, added.to(affine.weight.dtype)[kept])
    else:
        _add_border_map(call, affine, cut, number)


def _add_border_map(call: Call, affine: Affine, cut: Cut, number: Tensor) -> None:
    """Run the operator itself on the constants alone, and add the result."""
    value, axis = affine.source
    spatial = [int(size) for size in value.shape[axis + 1 :]]
    image = number.reshape([-1] + [1] * len(spatial)).expand(-1, *spatial)
    arguments = call.arguments | {"input": image[None], "weight": cut.facts.data(affine.parameter[0]), "bias": None}
    border = call.target(**arguments)[0].index_select(0, cut.indices(call.output, affine.target_axis))
    if bool(border.any()):  # of a depthwise convolution, the channels that they reach go with them
        cut.append(call.output, aten.add.Tensor, cut.constant(call.node, "border", border))


def _mask(cut: Cut, value: Value, axis: int) -> Tensor:
    mask = torch.zeros(int(value.shape[axis]), dtype=torch.bool)
    mask[cut.indices(value, axis)] = True
    return mask

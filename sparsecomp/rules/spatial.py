"""Operators on the positions of an image that treat all channels alike: pooling, upsampling, shuffles, unfold."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sparsecomp.facts import AxisFacts, TensorFacts
from sparsecomp.rules.base import Cut, Forward, Keep, Relate, Rule, register
from sparsecomp.rules.call import Call
from sparsecomp.rules.carry import carry
from sparsecomp.rules.relation import Relation, relate
from sparsecomp.rules.table import FactTable

aten = torch.ops.aten


def per_channel(spatial: int) -> Relate:
    """All axes but the last ``spatial`` ones belong together."""

    def relation(call: Call) -> Relation:
        leading = len(call.output.shape) - spatial
        text = " ".join([f"a{i}" for i in range(leading)] + ["_"] * spatial)
        return relate(f"{text} -> {','.join([text] * len(call.outputs))}", [call.inputs[0]], call.outputs)

    return relation


def same_constants(allows: Callable[[Call], bool]) -> Forward:
    """A constant slice stays the constant it is, if ``allows``; zero always stays zero, equal slices stay equal."""

    def forward(call: Call, relation: Relation, facts: FactTable) -> list[TensorFacts]:
        found: list[AxisFacts | None] = []
        for known in carry(call, relation, facts)[0]:
            if known is None:
                found.append(None)
                continue
            constant = known.constant if allows(call) else known.zero
            found.append(AxisFacts.of(constant, known.value, known.classes))
        return [tuple(found)] + [(None,) * len(value.shape) for value in call.outputs[1:]]

    return forward


def _always(call: Call) -> bool:
    return True


def is_zero(argument: Any) -> bool:
    """Whether an argument such as a padding is zero in all directions."""
    return all(each == 0 for each in (argument if isinstance(argument, (list, tuple)) else [argument]))


def _averages_elements_only(call: Call) -> bool:
    padded = not is_zero(call["padding"]) and call["count_include_pad"]
    return not padded and call.arguments.get("divisor_override") is None


def _shuffle_relation(call: Call) -> Relation:
    times = int(call["upscale_factor"])
    return relate("... (c r s) _ _ -> ... c _ _", call.inputs, call.outputs, {"r": times, "s": times})


def _unshuffle_relation(call: Call) -> Relation:
    times = int(call["downscale_factor"])
    return relate("... c _ _ -> ... (c r s) _ _", call.inputs, call.outputs, {"r": times, "s": times})


def _unfold_relation(call: Call) -> Relation:
    batch = "b " if len(call.output.shape) == 3 else ""
    taps = math.prod(call["kernel_size"])
    return relate(f"{batch}c _ _ -> {batch}(c r) _", call.inputs, call.outputs, {"r": taps})


def _constants_only(allows: Callable[[Call], bool]) -> Forward:
    """As `same_constants`, where slices of the result that come from one slice of the input differ."""
    keep_constants = same_constants(allows)

    def forward(call: Call, relation: Relation, facts: FactTable) -> list[TensorFacts]:
        found = keep_constants(call, relation, facts)[0]
        return [tuple(None if known is None else AxisFacts.of(known.constant, known.value) for known in found)]

    return forward


def all_of(*names: str) -> Callable[[Call, Relation, FactTable, Keep], dict[str, Tensor]]:
    """These variables cannot be narrowed."""

    def demand(call: Call, relation: Relation, facts: FactTable, keep: Keep) -> dict[str, Tensor]:
        return {n: torch.ones(relation.sizes[n], dtype=torch.bool) for n in names if n in relation.sizes}

    return demand


def _channel_shuffle_relation(call: Call) -> Relation:
    return relate("b (g c) * -> b (c g) *", call.inputs, call.outputs, {"g": int(call["groups"])})


def _fewer_groups(call: Call, relation: Relation, cut: Cut, keep: Keep) -> None:
    if "g" in keep:
        call.rewrite(groups=int(keep["g"].sum()))


def _channelwise(spatial: int) -> Rule:
    return Rule(per_channel(spatial), same_constants(_always))


register(
    _channelwise(1),
    *(aten.upsample_nearest1d.default, aten.upsample_nearest1d.vec, aten.upsample_linear1d.default),
    *(aten.max_pool1d.default, aten.adaptive_avg_pool1d.default, aten.adaptive_max_pool1d.default),
)
register(
    _channelwise(2),
    *(aten.upsample_nearest2d.default, aten.upsample_nearest2d.vec, aten.upsample_bilinear2d.default),
    *(aten.upsample_bilinear2d.vec, aten.upsample_bicubic2d.default, aten.upsample_bicubic2d.vec),
    *(aten.max_pool2d.default, aten.adaptive_avg_pool2d.default, aten.adaptive_max_pool2d.default),
    aten.max_pool2d_with_indices.default,
)
register(_channelwise(3), aten.max_pool3d.default, aten.adaptive_avg_pool3d.default)
register(Rule(per_channel(1), same_constants(_averages_elements_only)), aten.avg_pool1d.default)
register(Rule(per_channel(2), same_constants(_averages_elements_only)), aten.avg_pool2d.default)
register(Rule(per_channel(3), same_constants(_averages_elements_only)), aten.avg_pool3d.default)
register(Rule(_shuffle_relation, carry, all_of("r", "s")), aten.pixel_shuffle.default)
register(Rule(_unshuffle_relation, _constants_only(_always), all_of("r", "s")), aten.pixel_unshuffle.default)
register(
    Rule(_unfold_relation, _constants_only(lambda call: is_zero(call["padding"])), all_of("r")), aten.im2col.default
)
register(Rule(_channel_shuffle_relation, carry, narrow=_fewer_groups), aten.channel_shuffle.default)

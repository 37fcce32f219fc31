"""Normalisations. Batch norm works on each channel alone; the others mix the axes that they normalise."""

import torch
from torch import Tensor

from sparsecomp.facts import AxisFacts, TensorFacts
from sparsecomp.rules.base import Cut, Keep, Rule, nothing_known, register
from sparsecomp.rules.call import Call, Value
from sparsecomp.rules.relation import Relation, relate
from sparsecomp.rules.spatial import all_of
from sparsecomp.rules.table import FactTable

aten = torch.ops.aten
_PER_CHANNEL = ("weight", "bias", "running_mean", "running_var")


def _per_channel_relation(call: Call) -> Relation:
    operands = [call.tensor("input"), *(call.value(name) for name in _PER_CHANNEL)]
    return relate("b c *, c, c, c, c -> b c *", operands, call.outputs)


def _parameter(call: Call, name: str, facts: FactTable, default: float) -> Tensor | None:
    """The elements of a per-channel parameter, the default where there is none, None where they are not known."""
    value = call.value(name)
    if value is None:
        axis = 1 if name in _PER_CHANNEL and "normalized_shape" not in call.arguments else -1
        size = call.output.size(axis % len(call.output.shape))
        return None if size is None else torch.full((size,), default, dtype=call.output.dtype)
    return facts.data(value)


def _labels(call: Call, known: AxisFacts, facts: FactTable) -> list[Tensor]:
    """Equal channels with equal parameters give equal results."""
    values = [value for name in _PER_CHANNEL if (value := call.value(name)) is not None]
    return [known.classes, *(facts.known(value, 0).classes for value in values)]


def _on_axis(call: Call, axis: int, found: AxisFacts) -> list[TensorFacts]:
    return [tuple(found if i == axis else None for i in range(len(call.output.shape)))]


def _batch_norm_forward(call: Call, relation: Relation, facts: FactTable) -> list[TensorFacts]:
    defaults = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
    given = {name: _parameter(call, name, facts, default) for name, default in defaults.items()}
    if call["training"] or any(data is None for data in given.values()):
        return nothing_known(call, relation, facts)
    weight, bias, mean, variance = (data.double() for data in given.values() if data is not None)
    known = facts.known(call.tensor("input"), 1)
    scale = weight * (variance + call["eps"]).rsqrt()
    result = torch.where(weight == 0, bias, (known.value.double() - mean) * scale + bias)
    constant = (known.constant | (weight == 0)) & scale.isfinite() & result.isfinite() & mean.isfinite()
    labels = torch.stack(_labels(call, known, facts), dim=1)
    return _on_axis(call, 1, AxisFacts.of(constant, result.to(call.output.dtype), labels))


def _affine_after(
    call: Call, facts: FactTable, source: Value, axis: int, zero: Tensor, extra: list[Tensor]
) -> AxisFacts:
    """A normalisation whose normalised slices ``zero`` are zero, followed by a weight and a bias for each slice."""
    known = facts.known(source, axis)
    labels = torch.stack(_labels(call, known, facts) + extra, dim=1)
    unknown = AxisFacts.of(torch.zeros_like(known.constant), torch.zeros_like(known.value), labels)
    weight = _parameter(call, "weight", facts, 1.0)
    bias = _parameter(call, "bias", facts, 0.0)
    if weight is None or bias is None or weight.dim() != 1:
        return unknown
    constant = ((weight == 0) | zero) & weight.isfinite() & bias.isfinite()
    return AxisFacts.of(constant, bias.to(known.value.dtype), labels)


def _instance_norm_forward(call: Call, relation: Relation, facts: FactTable) -> list[TensorFacts]:
    source = call.tensor("input")
    if not call["use_input_stats"]:
        return nothing_known(call, relation, facts)
    return _on_axis(call, 1, _affine_after(call, facts, source, 1, facts.known(source, 1).zero, []))


def _group_norm_relation(call: Call) -> Relation:
    operands = [call.tensor("input"), call.value("weight"), call.value("bias")]
    equation = "b (g d) *, (g d), (g d) -> b (g d) *"
    return relate(equation, operands, call.outputs, {"g": int(call["num_groups"])})


def _group_norm_forward(call: Call, relation: Relation, facts: FactTable) -> list[TensorFacts]:
    """Only a group that is zero throughout is known; only channels of one group are compared."""
    source = call.tensor("input")
    known = facts.known(source, 1)
    groups = int(call["num_groups"])
    zero = known.zero.reshape(groups, -1).all(dim=1).repeat_interleave(known.size // groups)
    group = torch.arange(groups).repeat_interleave(known.size // groups)
    return _on_axis(call, 1, _affine_after(call, facts, source, 1, zero, [group]))


def _fewer_groups(call: Call, relation: Relation, cut: Cut, keep: Keep) -> None:
    if "g" in keep:
        call.rewrite(num_groups=int(keep["g"].sum()))


def _layer_norm_relation(call: Call) -> Relation:
    rank = len(call.output.shape)
    leading = rank - len(call["normalized_shape"])
    text = " ".join([f"a{i}" for i in range(leading)] + ["_"] * (rank - leading))
    return relate(f"{text} -> {text}", [call.tensor("input")], call.outputs)


def _layer_norm_forward(call: Call, relation: Relation, facts: FactTable) -> list[TensorFacts]:
    source = call.tensor("input")
    axis = len(source.shape) - 1
    if len(call["normalized_shape"]) != 1:
        return nothing_known(call, relation, facts)
    zero = torch.zeros(int(source.shape[axis]), dtype=torch.bool)
    return _on_axis(call, axis, _affine_after(call, facts, source, axis, zero, []))


def _rms_norm_forward(call: Call, relation: Relation, facts: FactTable) -> list[TensorFacts]:
    """Nothing is subtracted, so zero stays zero."""
    source = call.tensor("input")
    axis = len(source.shape) - 1
    if len(call["normalized_shape"]) != 1:
        return nothing_known(call, relation, facts)
    return _on_axis(call, axis, _affine_after(call, facts, source, axis, facts.known(source, axis).zero, []))


register(Rule(_per_channel_relation, _batch_norm_forward), aten.batch_norm.default)
register(Rule(_per_channel_relation, _instance_norm_forward), aten.instance_norm.default)
register(Rule(_group_norm_relation, _group_norm_forward, all_of("d"), _fewer_groups), aten.group_norm.default)
register(Rule(_layer_norm_relation, _layer_norm_forward), aten.layer_norm.default)
register(Rule(_layer_norm_relation, _rms_norm_forward), aten.rms_norm.default)

"""Convolutions: one, two and three dimensions, grouped, depthwise, transposed, dilated."""

from typing import Any

import torch
from torch import Tensor

from sparsecomp.rules.affine import Affine, affine_rule
from sparsecomp.rules.base import register
from sparsecomp.rules.call import Call
from sparsecomp.rules.matmul import add_to_argument
from sparsecomp.rules.relation import Relation, relate
from sparsecomp.rules.table import FactTable

aten = torch.ops.aten


def _transposed(call: Call) -> bool:
    return bool(call.arguments.get("transposed", "output_padding" in call.arguments))


def _relation(call: Call) -> Relation:
    operands = [call.tensor("input"), call.tensor("weight"), call.value("bias")]
    batch = "b " if len(call.tensor("input").shape) == len(call.tensor("weight").shape) else ""
    weight = "(g c) n *" if _transposed(call) else "(g n) c *"
    equation = f"{batch}(g c) *, {weight}, (g n) -> {batch}(g n) *"
    return relate(equation, operands, call.outputs, {"g": int(call["groups"])})


def _affine(call: Call, facts: FactTable) -> Affine | None:
    source, parameter, bias = call.tensor("input"), call.tensor("weight"), call.value("bias")
    data = facts.data(parameter)
    added = facts.data(bias) if bias is not None else None
    if data is None or (bias is not None and added is None):
        return None
    axis = 1 if len(source.shape) == data.dim() else 0
    weight = _by_group(data, int(call["groups"]), _transposed(call))
    return Affine(
        source=(source, axis),
        parameter=(parameter, 0 if _transposed(call) else 1),
        target_axis=axis,
        weight=weight,
        bias=added if added is not None else torch.zeros(weight.shape[0] * weight.shape[1], dtype=weight.dtype),
        even=not _transposed(call) and not _pads(call["padding"]),
    )


def _by_group(data: Tensor, groups: int, transposed: bool) -> Tensor:
    """A weight as ``(groups, n, c, taps)``."""
    taps = data.flatten(2)
    if transposed:
        return taps.reshape(groups, -1, taps.shape[1], taps.shape[2]).transpose(1, 2)
    return taps.reshape(groups, -1, taps.shape[1], taps.shape[2])


def _pads(padding: Any) -> bool:
    if isinstance(padding, str):
        return padding != "valid"
    return any(p != 0 for p in (padding if isinstance(padding, (list, tuple)) else [padding]))


register(
    affine_rule(_relation, _affine, add_to_argument("bias")),
    aten.conv1d.default,
    aten.conv2d.default,
    aten.conv3d.default,
    aten.conv1d.padding,
    aten.conv2d.padding,
    aten.conv3d.padding,
    aten.conv_transpose1d.default,
    aten.conv_transpose2d.input,
    aten.conv_transpose3d.input,
    aten.convolution.default,
)

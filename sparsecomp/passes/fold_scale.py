"""A multiplication by one number for each channel, after a linear or convolution, becomes part of its weight."""

from dataclasses import dataclass

import torch
from torch import fx

from sparsecomp.program import Program

aten = torch.ops.aten
_HEADS = {
    aten.linear.default,
    aten.conv1d.default,
    aten.conv2d.default,
    aten.conv3d.default,
}


@dataclass(frozen=True)
class FoldScale:
    """Scale weight and bias instead of the output.

    Before: ``y = linear(x, w, b) * s`` with ``s`` of shape ``[out]`` (or one number). After: ``y = linear(x, s w, s
    b)``. Layer scale of ConvNeXt, and the query scaling of attention layers that write it out, look like this.
    """

    name: str = "fold-scale"

    def apply(self, program: Program) -> bool:
        """See the class."""
        changed = False
        for product in program.calls(aten.mul.Tensor, aten.mul.Scalar, aten.div.Tensor):
            changed = _fold(program, product) or changed
        return changed


def _fold(program: Program, product: fx.Node) -> bool:
    operands = product.args[:2] if product.target is aten.div.Tensor else _weight_last(program, product)
    before, factor = operands
    if not isinstance(before, fx.Node) or before.target not in _HEADS or len(before.users) != 1:
        return False
    scale = _per_channel(program, factor, before)
    weights = [value for value in before.args[1:3] if value is not None]
    if scale is None or not all(program.is_weight(value) for value in weights):
        return False
    if product.target is aten.div.Tensor:
        scale = 1.0 / scale
    for index, node in enumerate(weights, start=1):
        assert isinstance(node, fx.Node)
        value = program.weight(node)
        scaled = (value.double() * scale.reshape(-1, *[1] * (value.dim() - 1))).to(value.dtype)
        before.update_arg(index, program.add_weight(str(node.target), scaled, before=before))
    product.replace_all_uses_with(before)
    program.graph.erase_node(product)
    return True


def _weight_last(program: Program, product: fx.Node) -> tuple[object, object]:
    left, right = product.args[:2]
    return (right, left) if program.is_weight(left) else (left, right)


def _per_channel(program: Program, factor: object, before: fx.Node) -> torch.Tensor | None:
    """The factor as float64 ``[out]`` or ``[1]``; None if it is anything else."""
    if isinstance(factor, int | float):
        return torch.tensor([factor], dtype=torch.float64)
    if not program.is_weight(factor):
        return None
    assert isinstance(factor, fx.Node)
    value, out, weight = program.weight(factor), before.meta["val"], before.args[1]
    if value.dtype != out.dtype or value.dim() > out.dim():
        return None
    assert isinstance(weight, fx.Node)
    axis = out.dim() + 1 - weight.meta["val"].dim()  # counted from the end: there may be no batch, or many
    shape = [1] * (out.dim() - value.dim()) + list(value.shape)
    if any(size != 1 for index, size in enumerate(shape) if index != axis):
        return None
    return value.double().flatten()

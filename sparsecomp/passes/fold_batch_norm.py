"""Batch normalisation after a linear or convolution becomes part of its weight and bias."""

from dataclasses import dataclass

import torch
from torch import fx

from sparsecomp.program import Program

aten = torch.ops.aten
_FOLDABLE = {
    aten.linear.default,
    aten.conv1d.default,
    aten.conv2d.default,
    aten.conv3d.default,
}


@dataclass(frozen=True)
class FoldBatchNorm:
    """Scale the weight and move the bias of the operator before, so that the normalisation disappears.

    Before: ``y = batch_norm(conv2d(x, w, b), gamma, beta, mean, var)``. After: ``y = conv2d(x, s w, s (b - mean) +
    beta)`` with ``s = gamma / sqrt(var + eps)``, computed in float64. Needs that nothing else reads the convolution.
    """

    name: str = "fold-batch-norm"

    def apply(self, program: Program) -> bool:
        """See the class."""
        changed = False
        for norm in program.calls(aten.batch_norm.default):
            if _is_foldable(program, norm):
                _fold(program, norm)
                changed = True
        return changed


def _is_foldable(program: Program, norm: fx.Node) -> bool:
    before = norm.args[0]
    if not isinstance(before, fx.Node) or before.target not in _FOLDABLE or len(before.users) != 1:
        return False
    weight, *others = [*before.args[1:3], *norm.args[1:5]]
    if not isinstance(weight, fx.Node) or before.meta["val"].dim() != weight.meta["val"].dim():
        return (
            False  # the channels of the normalisation are axis 1; those of linear are the last, of one image the first
        )
    weights = all(value is None or program.is_weight(value) for value in others) and program.is_weight(weight)
    return weights and norm.args[3] is not None


def _fold(program: Program, norm: fx.Node) -> None:
    before = norm.args[0]
    assert isinstance(before, fx.Node)
    weight_node, bias_node = before.args[1], before.args[2] if len(before.args) > 2 else None
    assert isinstance(weight_node, fx.Node)
    weight = program.weight(weight_node)
    gamma, beta, mean, var = (program.weight(v).double() if isinstance(v, fx.Node) else None for v in norm.args[1:5])
    assert mean is not None and var is not None
    eps = norm.args[7]
    assert isinstance(eps, float)
    scale = torch.rsqrt(var + eps) * (1.0 if gamma is None else gamma)
    bias = program.weight(bias_node).double() if isinstance(bias_node, fx.Node) else torch.zeros_like(mean)
    new_weight = weight.double() * scale.reshape(-1, *[1] * (weight.dim() - 1))
    new_bias = (bias - mean) * scale + (0.0 if beta is None else beta)
    name = str(weight_node.target).removesuffix("weight")
    folded = program.add_weight(f"{name}weight", new_weight.to(weight.dtype), before=before)
    shifted = program.add_weight(f"{name}bias", new_bias.to(weight.dtype), before=before)
    before.args = (before.args[0], folded, shifted, *before.args[3:])
    norm.replace_all_uses_with(before)
    program.graph.erase_node(norm)

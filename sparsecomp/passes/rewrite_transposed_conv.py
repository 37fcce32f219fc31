"""A transposed convolution whose windows do not overlap is a 1x1 convolution and a pixel shuffle."""

from dataclasses import dataclass

import torch
from torch import fx

from sparsecomp.program import Program, arguments, origin

aten = torch.ops.aten


@dataclass(frozen=True)
class RewriteTransposedConv:
    """Use the convolution kernels for upsampling by a transposed convolution.

    Before: ``y = conv_transpose2d(x, w[in, out, r, r], b, stride=r)``. After: ``y = pixel_shuffle(conv2d(x, w1[out * r
    * r, in, 1, 1], b1), r)``: each output pixel belongs to one window, so it is one product over the input channels.
    Others (overlapping windows, padding, groups) stay as they are.
    """

    name: str = "rewrite-transposed-conv"

    def apply(self, program: Program) -> bool:
        """See the class."""
        changed = False
        for node in program.calls(aten.conv_transpose2d.input):
            if _is_disjoint(program, node):
                _rewrite(program, node)
                changed = True
        return changed


def _is_disjoint(program: Program, node: fx.Node) -> bool:
    given = arguments(node)
    weights = [value for value in (given["weight"], given["bias"]) if value is not None]
    if not all(program.is_weight(value) for value in weights) or given["input"].meta["val"].dim() != 4:
        return False
    height, width = given["weight"].meta["val"].shape[2:]
    plain = given["groups"] == 1 and not any(given["padding"]) and not any(given["output_padding"])
    return plain and height == width and set(given["stride"]) == {height} and set(given["dilation"]) == {1}


def _rewrite(program: Program, node: fx.Node) -> None:
    given = arguments(node)
    weight = program.weight(given["weight"])
    inputs, outputs, factor, _ = weight.shape
    name = str(given["weight"].target)
    pixels = weight.permute(1, 2, 3, 0).reshape(outputs * factor**2, inputs, 1, 1).contiguous()
    weight_node, bias_node = program.add_weight(name, pixels, before=node), None
    if given["bias"] is not None:
        spread = program.weight(given["bias"]).repeat_interleave(factor**2)
        bias_node = program.add_weight(str(given["bias"].target), spread, before=node)
    with program.graph.inserting_before(node):
        conv = program.graph.call_function(aten.conv2d.default, (given["input"], weight_node, bias_node))
        shuffle = program.graph.call_function(aten.pixel_shuffle.default, (conv, factor))
    for new in (conv, shuffle):
        new.meta = origin(node)
    node.replace_all_uses_with(shuffle)
    program.graph.erase_node(node)

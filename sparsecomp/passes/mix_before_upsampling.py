"""A 1x1 convolution after upsampling is computed before it, where there are fewer pixels."""

from dataclasses import dataclass
from functools import partial, reduce
from itertools import compress
from operator import not_
from typing import Any

import torch
from torch import Tensor, fx

from sparsecomp.program import Program, arguments, origin

aten = torch.ops.aten
_UPSAMPLINGS = {
    aten.upsample_nearest1d.default,
    aten.upsample_nearest1d.vec,
    aten.upsample_linear1d.default,
    aten.upsample_linear1d.vec,
    aten.upsample_nearest2d.default,
    aten.upsample_nearest2d.vec,
    aten.upsample_bilinear2d.default,
    aten.upsample_bilinear2d.vec,
}
WORTH = 16  # so many multiplications must be saved for each output value: it is upsampled and added instead


@dataclass(frozen=True)
class MixBeforeUpsampling:
    """Upsample the products of a 1x1 convolution instead of its operands.

    Before: ``y = conv2d(cat([upsample(a), b]), w, c)``. After: ``y = conv2d(b, w_b, c) + upsample(conv2d(a, w_a))``.
    Upsampling takes weighted means of pixels, the same in each channel, and a 1x1 convolution those of channels, the
    same in each pixel: either may come first. Each doubling of height and width saves three of four multiplications:
    in the necks of YOLO, the decoders of SegFormer and DeepLab, and after ``upsample`` alone.
    """

    name: str = "mix-before-upsampling"

    def apply(self, program: Program) -> bool:
        """See the class."""
        changed = False
        for conv in program.calls(aten.conv1d.default, aten.conv2d.default):
            if _is_pointwise(program, conv):
                changed = _rewrite(program, conv) or changed
        return changed


def _is_pointwise(program: Program, conv: fx.Node) -> bool:
    given = arguments(conv)
    known = all(program.is_weight(given[name]) for name in ("weight", "bias") if given[name] is not None)
    if not known or isinstance(given["padding"], str) or given["groups"] != 1:
        return False
    window, sizes = given["weight"].meta["val"].shape[2:], (*conv.meta["val"].shape, *given["input"].meta["val"].shape)
    plain = set(window) == {1} and set(given["stride"]) == {1} and not any(given["padding"])
    return plain and all(isinstance(size, int) for size in sizes)


def _rewrite(program: Program, conv: fx.Node) -> bool:
    given = arguments(conv)
    members = _members(given["input"])
    pieces = torch.split(program.weight(given["weight"]), [member.meta["val"].shape[1] for member in members], dim=1)
    parts = list(zip(members, pieces, strict=True))
    pays = [_pays(*part) for part in parts]
    if not any(pays):
        return False
    emit = _Emitter(program, conv)
    early, late = list(compress(parts, pays)), list(compress(parts, map(not_, pays)))
    terms = [emit.mixed(late)] if late else []
    terms += [emit.mixed_early(*part) for part in early]
    conv.replace_all_uses_with(reduce(partial(emit.call, aten.add.Tensor), terms))
    for node in dict.fromkeys((conv, given["input"], *members)):
        if not node.users:
            program.graph.erase_node(node)
    return True


class _Emitter:
    """Writes what replaces a convolution. The first product takes the bias: upsampling leaves a constant as it is."""

    def __init__(self, program: Program, conv: fx.Node) -> None:
        self.program, self.conv = program, conv
        self.bias = arguments(conv)["bias"]

    def mixed(self, parts: list[tuple[fx.Node, Tensor]]) -> fx.Node:
        """The product of some channels, as they are."""
        members, pieces = zip(*parts, strict=True)
        x = self.call(aten.cat.default, list(members), 1) if len(members) > 1 else members[0]
        return self._product(x, torch.cat(pieces, dim=1))

    def mixed_early(self, upsampled: fx.Node, weight: Tensor) -> fx.Node:
        """The product of what is upsampled, and after it the same upsampling."""
        source, *how = upsampled.args
        product = self._product(source, weight)
        return self.call(upsampled.target, product, *how, **upsampled.kwargs)

    def _product(self, x: Any, weight: Tensor) -> fx.Node:
        name = str(arguments(self.conv)["weight"].target)
        node = self.program.add_weight(name, weight.contiguous(), before=self.conv, trained=True)
        product = self.call(self.conv.target, x, node, self.bias)
        self.bias = None
        return product

    def call(self, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """A call in the place of the convolution."""
        with self.program.graph.inserting_before(self.conv):
            node = self.program.graph.call_function(target, args, kwargs)
        node.meta = origin(self.conv)
        return node


def _members(x: fx.Node) -> list[fx.Node]:
    """The tensors whose channels are, one after the other, those of x."""
    if x.target is not aten.cat.default:
        return [x]
    given = arguments(x)
    return list(given["tensors"]) if given["dim"] in (1, 1 - x.meta["val"].dim()) else [x]


def _pays(member: fx.Node, weight: Tensor) -> bool:
    if member.target not in _UPSAMPLINGS:
        return False
    (source,) = member.all_input_nodes
    saved = 1 - float(source.meta["val"].numel() / member.meta["val"].numel())
    return int(weight.count_nonzero()) * saved > WORTH * len(weight)

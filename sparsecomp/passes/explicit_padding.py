"""``padding="same"`` and ``"valid"`` as numbers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from sparsecomp.program import Program, arguments

aten = torch.ops.aten
EXPLICIT: dict[object, Any] = {
    aten.conv1d.padding: aten.conv1d.default,
    aten.conv2d.padding: aten.conv2d.default,
    aten.conv3d.padding: aten.conv3d.default,
}


def same_padding(kernel: Sequence[int], dilation: Sequence[int]) -> tuple[list[int], list[int]]:
    """``"same"`` as numbers: the padding of each axis, and what `pad` adds first: an odd one goes behind the image."""
    totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return [total // 2 for total in totals], [size for total in reversed(totals) for size in (0, total % 2)]


def explicit_padding(program: Program, node: fx.Node) -> None:
    """``conv(x, ..., "same")`` becomes ``conv(x, ..., p)``, after a pad where torch pads one more at the end."""
    given = arguments(node)
    source, weight = given["input"], given["weight"]
    rank = weight.meta["val"].dim() - 2
    dilation = list(given["dilation"]) * (rank if len(given["dilation"]) == 1 else 1)
    padding, ends = [0] * rank, [0]
    if given["padding"] == "same":
        padding, ends = same_padding(weight.meta["val"].shape[2:], dilation)
    if any(ends):
        with program.graph.inserting_before(node):
            padded = program.graph.call_function(aten.constant_pad_nd.default, (source, ends))
        padded.meta = {**node.meta, "val": torch.nn.functional.pad(source.meta["val"], ends)}
        source = padded
    node.target, node.kwargs = EXPLICIT[node.target], {}
    node.args = (source, weight, given["bias"], given["stride"], padding, dilation, given["groups"])

"""Joining and taking apart tensors along their outermost axis: the parts are runs of memory, and need not be copied.

What is emitted here copies; `lower.placement` then gives the parts places in the buffer of the whole, and nothing is
left to do. That takes known sizes, axes of size 1 only before the axis, and parts that kernels write; all else is left
to TVM, which fuses it with its neighbours.
"""

import operator
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import fx
from tvm import te, topi

from sparsecomp.lower.context import Context
from sparsecomp.lower.placement import JOINS, PART
from sparsecomp.memory_plan import ALIGNMENT
from sparsecomp.program import arguments

aten = torch.ops.aten
_CAT = aten.cat.default
_SPLITS = (aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default)
_VIEWS = (operator.getitem, aten.reshape.default, aten.permute.default, aten.transpose.int, aten.expand.default)


def _cat(node: fx.Node, context: Context) -> Any:
    tensors, out = _joined(arguments(node)["tensors"]), node.meta["val"]
    parts = [tensor.meta["val"] for tensor in tensors]
    axis = int(arguments(node)["dim"]) % out.dim()
    fits = all(part.dim() == out.dim() and part.dtype == out.dtype for part in parts) and _are_runs(parts, axis)
    if not fits or not all(_may_be_placed(tensor, node) for tensor in tensors):
        return None

    def join(*x: te.Tensor) -> te.Tensor:
        return topi.concatenate(x, axis)

    return context.alone(join, *tensors, attributes={JOINS: _offsets(parts)})


def _split(node: fx.Node, context: Context) -> Any:
    given, parts = arguments(node), node.meta["val"]
    axis = int(given["dim"]) % parts[0].dim()
    if not _are_runs(parts, axis) or not _is_written(given["self"]):
        return None
    starts = accumulate((int(part.shape[axis]) for part in parts), initial=0)
    found = [
        context.alone(_part(part, axis, start), given["self"], attributes={PART: offset})
        for part, start, offset in zip(parts, starts, _offsets(parts), strict=False)
    ]
    for each in found:
        context.results.setdefault(each.name, node.name)
    return found


def _part(part: torch.Tensor, axis: int, start: int) -> Any:
    def part_of(x: te.Tensor) -> te.Tensor:
        return te.compute(tuple(part.shape), lambda *i: x(*i[:axis], i[axis] + start, *i[axis + 1 :]), name="part")

    return part_of


def _joined(tensors: Sequence[fx.Node]) -> list[fx.Node]:
    """The tensors to be joined, a whole instead of all its parts in their order."""
    found: list[fx.Node] = []
    for tensor in tensors:
        found.append(tensor)
        split = tensor.args[0] if tensor.target is operator.getitem else None
        if isinstance(split, fx.Node) and split.target in _SPLITS:
            count = len(split.meta["val"])
            if [each.args for each in found[-count:]] == [(split, index) for index in range(count)]:
                found[-count:] = [arguments(split)["self"]]
    return found


def _are_runs(parts: Sequence[torch.Tensor], axis: int) -> bool:
    """Whether parts along an axis are runs of memory that begin where vectors may."""
    known = all(isinstance(size, int) for part in parts for size in part.shape)
    if not known or any(part.numel() == 0 or set(part.shape[:axis]) - {1} for part in parts):
        return False
    return all(offset % ALIGNMENT == 0 for offset in _offsets(parts))


def _offsets(parts: Sequence[torch.Tensor]) -> list[int]:
    """At how many bytes each part begins."""
    return list(accumulate((part.numel() * part.element_size() for part in parts[:-1]), initial=0))


def _may_be_placed(part: fx.Node, whole: fx.Node) -> bool:
    """Whether a kernel may write a part into a whole: nobody else wants it elsewhere."""
    wholes = [user for user in part.users if user.target is _CAT]
    returned = any(user.op == "output" for user in part.users)
    return _is_written(part) and not returned and (not wholes or wholes[0] is whole)


def _is_written(node: fx.Node) -> bool:
    return node.op == "call_function" and node.target not in _VIEWS


CONVERTERS: dict[Any, Any] = {_CAT: _cat, **dict.fromkeys(_SPLITS, _split)}

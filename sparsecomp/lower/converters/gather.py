"""Values and rows picked by index."""

from typing import Any

import torch
from torch import fx
from tvm import te, tirx

from sparsecomp.lower.context import Context
from sparsecomp.program import arguments

aten = torch.ops.aten


def _embedding(node: fx.Node, context: Context) -> Any:
    """A row of the table for each index; NaN for an index outside of it, which PyTorch refuses to look up."""
    given = arguments(node)
    table, out = given["weight"].meta["val"], node.meta["val"]
    if out.dtype != torch.float32:
        return None
    shape, rows = context.symbols.dims(out.shape), table.shape[0]

    def embedding(values: te.Tensor, index: te.Tensor) -> te.Tensor:
        def element(*i: Any) -> Any:
            row = index(*i[:-1])
            inside = tirx.all(row >= 0, row < rows)
            return tirx.if_then_else(inside, values(row, i[-1]), tirx.const(float("nan"), "float32"))

        return te.compute(shape, element, name="embedding")

    return context.tensor(embedding, given["weight"], given["indices"])


def _index(node: fx.Node, context: Context) -> Any:
    """``x[i, j, ...]`` with tensors of integers, some of them None, as NumPy defines it."""
    given, out = arguments(node), node.meta["val"]
    indices, rank = given["indices"], given["self"].meta["val"].dim()
    used = [axis for axis, index in enumerate(indices) if index is not None]
    tensors = [indices[axis].meta["val"] for axis in used]
    if any(tensor.dtype == torch.bool for tensor in tensors):
        return None  # the size of the result would depend on values
    spread = max(tensor.dim() for tensor in tensors)
    start = used[0] if used == list(range(used[0], used[-1] + 1)) else 0
    shape, sizes = context.symbols.dims(out.shape), context.symbols.dims(given["self"].meta["val"].shape)

    def index(x: te.Tensor, *values: te.Tensor) -> te.Tensor:
        def element(*i: Any) -> Any:
            place, rest = i[start : start + spread], iter((*i[:start], *i[start + spread :]))
            picked = iter(_at(value, place, sizes[axis]) for axis, value in zip(used, values, strict=True))
            return x(*(next(picked) if axis in used else next(rest) for axis in range(rank)))

        return te.compute(shape, element, name="index")

    return context.tensor(index, given["self"], *(indices[axis] for axis in used))


def _gather(node: fx.Node, context: Context) -> Any:
    given, out = arguments(node), node.meta["val"]
    dim = given["dim"] % out.dim()
    shape, sizes = context.symbols.dims(out.shape), context.symbols.dims(given["self"].meta["val"].shape)

    def gather(x: te.Tensor, index: te.Tensor) -> te.Tensor:
        def element(*i: Any) -> Any:
            return x(*i[:dim], _inside(index(*i), sizes[dim]), *i[dim + 1 :])

        return te.compute(shape, element, name="gather")

    return context.tensor(gather, given["self"], given["index"])


def _at(value: te.Tensor, place: Any, size: Any) -> Any:
    """The index that a tensor, broadcast to the rank of ``place``, has there."""
    own = place[len(place) - len(value.shape) :]
    at = [0 if isinstance(n, tirx.IntImm) and int(n) == 1 else i for i, n in zip(own, value.shape, strict=True)]
    return _inside(value(*at), size)


def _inside(index: Any, size: Any) -> Any:
    """A negative index counts from the end; one that is out of range is moved to the border, so that memory is safe."""
    limit = tirx.Cast(index.ty.dtype, size) if not isinstance(size, int) else size
    wrapped = tirx.Select(index < 0, index + limit, index)
    return tirx.max(tirx.min(wrapped, limit - 1), 0)


CONVERTERS: dict[Any, Any] = {
    aten.embedding.default: _embedding,
    aten.gather.default: _gather,
    aten.index.Tensor: _index,
}

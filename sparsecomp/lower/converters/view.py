"""Views and partial writes, with the output sizes that torch computed."""

from typing import Any

import torch
from torch import fx
from tvm import ir, relax, te, tirx

from sparsecomp.lower.context import Context
from sparsecomp.program import arguments

aten = torch.ops.aten


def _reshape(node: fx.Node, context: Context) -> Any:
    shape = context.symbols.dims(node.meta["val"].shape)
    return context.emit(relax.op.reshape(context.value(node.args[0]), relax.ShapeExpr(shape)))


def _permute(node: fx.Node, context: Context) -> Any:
    """One permutation for a permutation of another, none where they undo each other."""
    value, axes = context.value(node.args[0]), axes_of(node)
    before = context.builder.lookup_binding(value) if isinstance(value, relax.Var) else None
    if isinstance(before, relax.Call) and before.op == ir.Op.get("relax.permute_dims"):
        value, axes = before.args[0], [int(before.attrs.axes[axis]) for axis in axes]
    return value if axes == sorted(axes) else context.emit(relax.op.permute_dims(value, axes))


def axes_of(node: fx.Node) -> list[int]:
    """The axes of the input, in the order that a permute or transpose puts them."""
    axes = list(range(node.meta["val"].dim()))
    if node.target is aten.permute.default:
        return [_axis(axis, len(axes)) for axis in arguments(node)["dims"]]
    first, second = (_axis(axis, len(axes)) for axis in node.args[1:])
    axes[first], axes[second] = axes[second], axes[first]
    return axes


def _expand(node: fx.Node, context: Context) -> Any:
    shape = context.symbols.dims(node.meta["val"].shape)
    return context.emit(relax.op.broadcast_to(context.value(node.args[0]), relax.ShapeExpr(shape)))


def _slice(node: fx.Node, context: Context) -> Any:
    dim, start, step = _slice_range(node, context, 1)
    shape = context.symbols.dims(node.meta["val"].shape)

    def slice_(x: te.Tensor) -> te.Tensor:
        return te.compute(shape, lambda *i: x(*i[:dim], i[dim] * step + start, *i[dim + 1 :]), name="slice")

    return context.tensor(slice_, node.args[0])


def _select(node: fx.Node, context: Context) -> Any:
    given, out = arguments(node), node.meta["val"]
    source = given["self"].meta["val"]
    dim, sizes = given["dim"] % source.dim(), context.symbols.dims(source.shape)
    index, shape = _from_end(context.value(given["index"]), sizes[dim]), context.symbols.dims(out.shape)

    def select(x: te.Tensor) -> te.Tensor:
        return te.compute(shape, lambda *i: x(*i[:dim], index, *i[dim:]), name="select")

    return context.tensor(select, given["self"])


def _slice_scatter(node: fx.Node, context: Context) -> Any:
    """Write ``source`` over a slice of ``x``."""
    dim, start, step = _slice_range(node, context, 2)
    shape = context.symbols.dims(node.meta["val"].shape)
    source_value = node.args[1]
    assert isinstance(source_value, fx.Node)
    count = context.symbols.dim(source_value.meta["val"].shape[dim])

    def slice_scatter(x: te.Tensor, source: te.Tensor) -> te.Tensor:
        def element(*i: Any) -> Any:
            offset = i[dim] - start
            index = tirx.floordiv(offset, step)
            inside = tirx.all(offset >= 0, tirx.floormod(offset, step) == 0, index < count)
            return tirx.if_then_else(inside, source(*i[:dim], index, *i[dim + 1 :]), x(*i))

        return te.compute(shape, element, name="slice_scatter")

    return context.tensor(slice_scatter, node.args[0], source_value)


def _select_scatter(node: fx.Node, context: Context) -> Any:
    """Write ``source`` over one index of an axis of ``x``."""
    out = node.meta["val"]
    dim, index = _axis(node.args[2], out.dim()), node.args[3]
    shape = context.symbols.dims(out.shape)
    place = _from_end(context.value(index), shape[dim])

    def select_scatter(x: te.Tensor, source: te.Tensor) -> te.Tensor:
        def element(*i: Any) -> Any:
            return tirx.if_then_else(i[dim] == place, source(*i[:dim], *i[dim + 1 :]), x(*i))

        return te.compute(shape, element, name="select_scatter")

    return context.tensor(select_scatter, node.args[0], node.args[1])


def _fill(node: fx.Node, context: Context) -> Any:
    shape = context.symbols.dims(node.meta["val"].shape)
    return context.emit(relax.op.broadcast_to(context.value(node.args[1]), relax.ShapeExpr(shape)))


def _slice_range(node: fx.Node, context: Context, first: int) -> tuple[int, Any, int]:
    """Axis, first index and step of a slice whose arguments begin at ``first``: dim, start, end, step."""
    arguments = [*node.args[first:], *[None] * 4]
    source = node.args[0]
    assert isinstance(source, fx.Node)
    dim = _axis(arguments[0] or 0, source.meta["val"].dim())
    size = context.symbols.dim(source.meta["val"].shape[dim])
    start = _from_end(context.value(arguments[1] or 0), size)
    step = arguments[3] or 1
    assert isinstance(step, int)
    return dim, start, step


def _axis(dim: Any, rank: int) -> int:
    return int(dim) % rank


def _from_end(index: Any, size: Any) -> Any:
    if not isinstance(index, int):
        return index
    if index >= 0:
        return min(index, size) if isinstance(size, int) else index
    return max(size + index, 0) if isinstance(size, int) else tirx.max(size + index, 0)


CONVERTERS: dict[Any, Any] = {
    aten.reshape.default: _reshape,
    aten.expand.default: _expand,
    aten.permute.default: _permute,
    aten.transpose.int: _permute,
    aten.select.int: _select,
    aten.slice.Tensor: _slice,
    aten.slice_scatter.default: _slice_scatter,
    aten.select_scatter.default: _select_scatter,
    aten.fill.Tensor: _fill,
}

"""Tensors made from sizes and numbers alone."""

from typing import Any

import torch
from torch import fx
from tvm import relax, te, tirx

from sparsecomp.lower.context import Context, dtype_name

aten = torch.ops.aten


def _full(value_of: Any) -> Any:
    def convert(node: fx.Node, context: Context) -> Any:
        out = node.meta["val"]
        value = value_of(node)
        if isinstance(value, fx.Node):
            return None
        fill = relax.const(value, dtype_name(out.dtype))
        return context.emit(relax.op.full(relax.ShapeExpr(context.symbols.dims(out.shape)), fill))

    return convert


def _arange(node: fx.Node, context: Context) -> Any:
    """``arange([start,] end[, step])`` where the number of elements may be symbolic."""
    out = node.meta["val"]
    start = node.args[0] if node.target is not aten.arange.default else 0
    step = node.args[2] if len(node.args) > 2 else 1
    if isinstance(step, fx.Node) or out.dtype.is_floating_point:
        return None
    dtype = dtype_name(out.dtype)
    first = context.value(start)

    def element(i: Any) -> Any:
        return tirx.Cast(dtype, first) + tirx.Cast(dtype, i) * tirx.IntImm(dtype, step)

    def arange() -> te.Tensor:
        return te.compute(context.symbols.dims(out.shape), element, name="arange")

    return context.tensor(arange)


CONVERTERS: dict[Any, Any] = {
    aten.zeros.default: _full(lambda _: 0),
    aten.ones.default: _full(lambda _: 1),
    aten.new_zeros.default: _full(lambda _: 0),
    aten.new_ones.default: _full(lambda _: 1),
    aten.zeros_like.default: _full(lambda _: 0),
    aten.ones_like.default: _full(lambda _: 1),
    aten.full.default: _full(lambda node: node.args[1]),
    aten.full_like.default: _full(lambda node: node.args[1]),
    aten.new_full.default: _full(lambda node: node.args[2]),
    aten.fill.Scalar: _full(lambda node: node.args[1]),
    aten.arange.default: _arange,
    aten.arange.start: _arange,
    aten.arange.start_step: _arange,
}

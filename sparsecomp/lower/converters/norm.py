"""Softmax and layer normalisation over the last axis by their kernels; batch normalisation that stands alone."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx
from tvm import relax, tirx

from sparsecomp.kernels import norm
from sparsecomp.lower.context import Context
from sparsecomp.program import arguments

aten = torch.ops.aten


def _softmax(node: fx.Node, context: Context) -> Any:
    given, rank = arguments(node), node.meta["val"].dim()
    if given["dtype"] is not None or rank == 0 or given["dim"] % rank != rank - 1:
        return None
    return _by_rows(node, context, "softmax", (), lambda rows, size: norm.build_softmax(rows, size, context.target))


def _layer_norm(node: fx.Node, context: Context) -> Any:
    given = arguments(node)
    affine = [value for value in (given["weight"], given["bias"]) if value is not None]
    if len(given["normalized_shape"]) != 1 or len(affine) == 1:
        return None

    def build(rows: Any, size: int) -> tirx.PrimFunc:
        return norm.build_layer_norm(rows, size, given["eps"], bool(affine), context.target)

    return _by_rows(node, context, "layer_norm", (given["eps"], *affine), build)


def _by_rows(
    node: fx.Node, context: Context, name: str, extra: Sequence[Any], build: Callable[[Any, int], tirx.PrimFunc]
) -> Any:
    """Call a kernel on the matrix whose rows lie along the last axis; ``extra`` is numbers, then further inputs."""
    out = node.meta["val"]
    *leading, size = context.symbols.dims(out.shape)
    if out.dtype != torch.float32 or not isinstance(size, int):
        return None
    rows: Any = 1
    for dim in leading:
        rows = rows * dim
    inputs = [value for value in extra if isinstance(value, fx.Node)]
    numbers = tuple(value for value in extra if not isinstance(value, fx.Node))
    result = context.call(
        (name, str(rows), size, numbers, len(inputs)),
        lambda: build(context.parameter(rows), size),
        [context.reshape(node.args[0], [rows, size]), *map(context.value, inputs)],
        relax.TensorType([rows, size], "float32"),
        name,
    )
    return context.reshape(result, [*leading, size])


def _batch_norm(node: fx.Node, context: Context) -> Any:
    """A normalisation that no convolution took in: one scale and one shift for each channel, computed on the way."""
    given, out = arguments(node), node.meta["val"]
    if out.dtype != torch.float32:
        return None
    mean, variance = context.value(given["running_mean"]), context.value(given["running_var"])
    scale = context.emit(relax.op.rsqrt(relax.op.add(variance, relax.const(given["eps"], "float32"))))
    if given["weight"] is not None:
        scale = context.emit(relax.op.multiply(scale, context.value(given["weight"])))
    shift = context.emit(relax.op.negative(relax.op.multiply(mean, scale)))
    if given["bias"] is not None:
        shift = context.emit(relax.op.add(shift, context.value(given["bias"])))
    channels = relax.ShapeExpr([out.shape[1], *[1] * (out.dim() - 2)])
    scale, shift = (context.emit(relax.op.reshape(value, channels)) for value in (scale, shift))
    return context.emit(relax.op.add(relax.op.multiply(context.value(given["input"]), scale), shift))


CONVERTERS: dict[Any, Any] = {
    aten.batch_norm.default: _batch_norm,
    aten.softmax.int: _softmax,
    aten.layer_norm.default: _layer_norm,
}

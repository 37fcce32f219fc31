"""Softmax and layer normalisation over the last axis, by their kernels."""

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


CONVERTERS: dict[Any, Any] = {
    aten.softmax.int: _softmax,
    aten.layer_norm.default: _layer_norm,
}

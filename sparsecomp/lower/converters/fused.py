"""Fused operators that no kernel of ours takes: in parts, by TVM's operators and our schedule rules."""

import math
from typing import Any

import torch
from torch import fx
from tvm import relax

from sparsecomp.lower.context import Context
from sparsecomp.program import arguments

_GELU_CUBE = 0.044715


def _linear(node: fx.Node, context: Context) -> Any:
    given = arguments(node)
    transposed = context.emit(relax.op.permute_dims(context.value(given["weight"])))
    result = context.emit(relax.op.matmul(context.value(given["x"]), transposed))
    if given["bias"] is not None:
        result = context.emit(relax.op.add(result, context.value(given["bias"])))
    return finish(result, node, context)


def convert_conv(node: fx.Node, context: Context) -> Any:
    """``sparsecomp.conv`` as TVM's convolution and what follows it."""
    given = arguments(node)
    rank = len(given["stride"])
    op, layouts = (relax.op.nn.conv1d, ("NCW", "OIW")) if rank == 1 else (relax.op.nn.conv2d, ("NCHW", "OIHW"))
    call = op(
        context.value(given["x"]),
        context.value(given["weight"]),
        strides=given["stride"],
        padding=[*given["padding"], *given["padding"]],
        dilation=given["dilation"],
        groups=given["groups"],
        data_layout=layouts[0],
        kernel_layout=layouts[1],
    )
    result = context.emit(call)
    if given["bias"] is not None:
        shape = relax.ShapeExpr([1, given["bias"].meta["val"].shape[0], *[1] * rank])
        result = context.emit(relax.op.add(result, relax.op.reshape(context.value(given["bias"]), shape)))
    return finish(result, node, context)


def finish(value: Any, node: fx.Node, context: Context) -> Any:
    """The residual and the activation of ``sparsecomp.linear`` or ``sparsecomp.conv``."""
    given = arguments(node)
    residual, last = given["residual"], given["residual_last"]
    if residual is not None and not last:
        value = context.emit(relax.op.add(value, context.value(residual)))
    if given["activation"]:
        value = context.emit(_activation(value, given["activation"], given["low"], given["high"]))
    if residual is not None and last:
        value = context.emit(relax.op.add(value, context.value(residual)))
    return value


def _activation(x: Any, name: str, low: float, high: float) -> Any:
    match name:
        case "relu":
            return relax.op.nn.relu(x)
        case "relu6":
            return relax.op.clip(x, 0, 6)
        case "clamp":
            return relax.op.clip(x, low, high)
        case "sigmoid":
            return relax.op.sigmoid(x)
        case "tanh":
            return relax.op.tanh(x)
        case "gelu":
            return relax.op.nn.gelu(x)
        case "silu":
            return relax.op.nn.silu(x)
    return _composed(x, name)


def _composed(x: Any, name: str) -> Any:
    def number(value: float) -> Any:
        return relax.const(value, "float32")

    if name == "gelu_tanh":
        cube = relax.op.multiply(relax.op.multiply(x, x), relax.op.multiply(x, number(_GELU_CUBE)))
        inner = relax.op.multiply(relax.op.add(x, cube), number(math.sqrt(2 / math.pi)))
        return relax.op.multiply(relax.op.multiply(x, number(0.5)), relax.op.add(relax.op.tanh(inner), number(1)))
    gate = relax.op.clip(relax.op.divide(relax.op.add(x, number(3)), number(6)), 0, 1)
    return gate if name == "hardsigmoid" else relax.op.multiply(x, gate)


CONVERTERS: dict[Any, Any] = {
    torch.ops.sparsecomp.linear.default: _linear,
}

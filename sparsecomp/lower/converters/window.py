"""Operators that move a window over images: depthwise convolution and pooling."""

from typing import Any

import torch
from torch import fx
from tvm import relax

from sparsecomp.kernels import depthwise, pooling
from sparsecomp.kernels.windows import Window
from sparsecomp.lower.context import Context
from sparsecomp.lower.converters import fused
from sparsecomp.program import arguments

aten = torch.ops.aten
_ACTIVATIONS = ("", "relu", "relu6", "silu", "gelu", "hardswish")


def _conv(node: fx.Node, context: Context) -> Any:
    """Depthwise convolution by its kernel; any other that comes here in parts."""
    given = arguments(node)
    weight, activation = given["weight"].meta["val"], given["activation"]
    window = _window(node, context, weight.shape[2:], given["stride"], given["padding"])
    depthwise_only = weight.shape[:2] == (given["groups"], 1) and set(given["dilation"]) == {1}
    if window is None or not depthwise_only or activation not in _ACTIVATIONS:
        return fused.convert_conv(node, context)
    bias, residual = given["bias"], given["residual"]
    spec = depthwise.DepthwiseSpec(window, bias is not None, activation or None if residual is None else None)
    values = [value for value in (given["x"], given["weight"], bias) if value is not None]
    result = _call("depthwise", spec, lambda: depthwise.build(spec, context.target), values, node, context)
    return result if residual is None else fused.finish(result, node, context)


def _max_pool(node: fx.Node, context: Context) -> Any:
    given = arguments(node)
    window = _pooling_window(node, given, context)
    if window is None or set(_pair(given["dilation"])) != {1}:
        return None
    build = lambda: pooling.build_max_pool(window, context.target)  # noqa: E731
    return _call("max_pool", window, build, [node.args[0]], node, context)


def _average_pool(node: fx.Node, context: Context) -> Any:
    given = arguments(node)
    window, counted = _pooling_window(node, given, context), bool(given["count_include_pad"])
    if window is None or given["divisor_override"] is not None:
        return None
    build = lambda: pooling.build_average_pool(window, context.target, counted)  # noqa: E731
    return _call("average_pool", (window, counted), build, [node.args[0]], node, context)


def _global_mean(node: fx.Node, context: Context) -> Any:
    """The mean of whole planes, as ``adaptive_avg_pool2d(x, 1)`` or ``mean(x, (2, 3))``."""
    given, source = arguments(node), _source(node)
    if source.dim() != 4 or not _is_known(source) or source.dtype != torch.float32:
        return None
    if "dim" in given:
        whole = given["dtype"] is None and {axis % 4 for axis in given["dim"] or ()} == {2, 3}
    else:
        whole = _pair(given["output_size"]) == (1, 1)
    return _planes(node, source, context) if whole else None


def _planes(node: fx.Node, source: torch.Tensor, context: Context) -> Any:
    batch, channels, height, width = context.symbols.dims(source.shape)
    size = height * width
    result = context.call(
        ("global_mean", str(batch), channels, size),
        lambda: pooling.build_global_mean(context.parameter(batch), channels, size, context.target),
        [context.reshape(node.args[0], [batch, channels, size])],
        relax.TensorType([batch, channels], "float32"),
        "global_mean",
    )
    return context.reshape(result, context.symbols.dims(node.meta["val"].shape))


def _pooling_window(node: fx.Node, given: dict[str, Any], context: Context) -> Window | None:
    size = _pair(given["kernel_size"])
    window = _window(node, context, size, _pair(given["stride"] or size), _pair(given["padding"]))
    if window is None or tuple(node.meta["val"].shape[2:]) != (window.out_height, window.out_width):
        return None  # ceil_mode may give one row or column more
    return window


def _window(node: fx.Node, context: Context, size: Any, stride: Any, padding: Any) -> Window | None:
    """The window of a float32 operator on images of a known size, else None."""
    source = _source(node)
    if source.dim() != 4 or source.dtype != torch.float32 or not _is_known(source):
        return None
    batch, channels, height, width = context.symbols.dims(source.shape)
    return Window(context.parameter(batch), channels, height, width, tuple(size), tuple(stride), tuple(padding))


def _source(node: fx.Node) -> torch.Tensor:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    value = source.meta["val"]
    assert isinstance(value, torch.Tensor)
    return value


def _is_known(source: torch.Tensor) -> bool:
    return all(isinstance(size, int) for size in source.shape[1:])


def _pair(value: Any) -> tuple[int, int]:
    values = [value] if isinstance(value, int) else list(value)
    return (values[0], values[-1])


def _call(name: str, spec: object, build: Any, values: list[Any], node: fx.Node, context: Context) -> Any:
    inputs = [context.value(value) for value in values]
    return context.call((name, repr(spec)), build, inputs, context.type_of(node.meta["val"]), name)


CONVERTERS: dict[Any, Any] = {
    torch.ops.sparsecomp.conv.default: _conv,
    aten.max_pool2d.default: _max_pool,
    aten.avg_pool2d.default: _average_pool,
    aten.adaptive_avg_pool2d.default: _global_mean,
    aten.mean.dim: _global_mean,
}

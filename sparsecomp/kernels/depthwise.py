"""Depthwise convolution: one filter for each channel, with bias and activation."""

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx

from sparsecomp.kernels import epilogue, window_rows
from sparsecomp.kernels.emit import argument, let, splat
from sparsecomp.kernels.problem import Activation, Epilogue
from sparsecomp.kernels.windows import Window, sweep
from sparsecomp.schedules.finish import finish
from sparsecomp.schedules.loops import function, index, load, parallel_where_it_pays, scratch, store
from sparsecomp.schedules.math import fast_erf, sigmoid
from sparsecomp.schedules.rewrite import Expr, Stmt
from sparsecomp.targets.base import Target


def _real(value: float) -> Expr:
    return tirx.const(value, "float32")


def activate(value: Expr, activation: str | None) -> Expr:
    """``value`` through the activation of that name; raises KeyError for one that is not known."""
    functions: dict[str | None, Callable[[Expr], Expr]] = {
        None: lambda v: v,
        "relu": lambda v: tirx.max(v, _real(0)),
        "relu6": lambda v: tirx.min(tirx.max(v, _real(0)), _real(6)),
        "silu": lambda v: v * sigmoid(v),
        "gelu": lambda v: _real(0.5) * v * (_real(1) + fast_erf(v * _real(0.7071067811865476))),
        "hardswish": lambda v: v * tirx.min(tirx.max(v + _real(3), _real(0)), _real(6)) * _real(1 / 6),
    }
    return functions[activation](value)


@dataclass(frozen=True)
class DepthwiseSpec:
    """The problem: x [batch, channels, h, w] with weight [channels, 1, r, s], and optionally bias [channels]."""

    window: Window
    bias: bool = False
    activation: Activation | None = None


class _Rows(window_rows.WindowRows):
    """The kernel (x, weight[, bias], y) of small filters."""

    name = "depthwise"

    def __init__(self, spec: DepthwiseSpec, target: Target) -> None:
        super().__init__(spec.window, target)
        self.spec, self.epilogue = spec, Epilogue(activation=spec.activation)

    def declare(self) -> None:
        channels = self.window.channels
        self.weight = argument("weight", (channels, 1, *self.window.size))
        self.bias = argument("bias", (channels,)) if self.spec.bias else None

    def begin(self, channel: Expr) -> None:
        rows, columns = self.window.size
        taps = [self.weight[channel, 0, r, s] for r in range(rows) for s in range(columns)]
        self.taps = [let("tap", splat(tap, self.lanes)) for tap in taps]
        self.start = splat(0.0, self.lanes) if self.bias is None else let("bias", splat(self.bias[channel], self.lanes))

    def join(self, result: Expr, values: Expr, row: int, column: int) -> Expr:
        return result + values * self.taps[row * self.window.size[1] + column]

    def finish(self, result: Expr, _at: tuple[Expr, Expr], _like: tuple[int, int]) -> Expr:
        return epilogue.activate(result, self.epilogue, self.lanes)


def build(spec: DepthwiseSpec, target: Target) -> tirx.PrimFunc:
    """The function (x, weight[, bias], out) for ``spec``, float32."""
    window = spec.window
    if window_rows.applies(window):
        return _Rows(spec, target).build()
    x = scratch([window.batch, window.channels, window.height, window.width], "x")
    weight = scratch([window.channels, 1, *window.size], "weight")
    bias = scratch([window.channels], "bias")
    out = scratch([window.batch, window.channels, window.out_height, window.out_width], "out")

    def put(batch: Expr, channel: Expr, y: Expr, column: Expr, value: Expr) -> Stmt:
        return store(out, [batch, channel, y, column], activate(value, spec.activation))

    body = sweep(
        window,
        target,
        x,
        border=0.0,
        start=lambda channel: load(bias, [channel]) if spec.bias else _real(0),
        combine=lambda channel: lambda acc, value, r, s: acc + value * load(weight, [channel, 0, r, s]),
        put=put,
    )
    nest = parallel_where_it_pays(index(window.batch) * index(window.channels), body)
    params = [x, weight, *([bias] if spec.bias else []), out]
    return finish(function(params, nest, "depthwise"), target).with_attr("tir.is_scheduled", True)

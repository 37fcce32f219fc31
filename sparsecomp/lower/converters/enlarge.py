"""Images made larger: interpolated, by repeated pixels, and by pixels from several channels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from tvm import te, tirx

from sparsecomp.kernels import interleave
from sparsecomp.lower.context import Context
from sparsecomp.program import arguments

aten = torch.ops.aten
MOST = 4  # a factor up to which vectors are woven together


def _nearest(node: fx.Node, context: Context) -> Any:
    given = arguments(node)
    source, out = given["input"].meta["val"].shape, node.meta["val"].shape
    if _known(source[1:], out[1:]):
        factors = (out[2] // source[2], out[3] // source[3])
        exact = given["scale_factors"] in (None, list(factors)) or factors == (2, 2)
        if exact and (source[2] * factors[0], source[3] * factors[1]) == tuple(out[2:]) and _suits(node, factors[1]):
            return _by_kernel(node, factors, woven=False, context=context)
    return _resize(node, context, linear=False)


def _linear(node: fx.Node, context: Context) -> Any:
    return _resize(node, context, linear=True)


def _resize(node: fx.Node, context: Context, linear: bool) -> Any:
    """``upsample_*2d.vec(x, size, ...)``, kept apart so that a reader does not interpolate each pixel again."""
    given = arguments(node)
    source, out = given["input"].meta["val"].shape, node.meta["val"].shape
    if not _known(source[2:], out[2:]):
        return None
    corners, scales = bool(given.get("align_corners")), given["scale_factors"] or (None, None)
    axes = [_Axis(*sizes, linear, corners) for sizes in zip(source[2:], out[2:], scales, strict=True)]
    shape = context.symbols.dims(out)

    def resize(x: te.Tensor) -> te.Tensor:
        def pixel(image: Any, channel: Any, *at: Any) -> Any:
            rows, columns = (axis.sources(i) for axis, i in zip(axes, at, strict=True))
            return sum(x(image, channel, r, c) * (a * b) for r, a in rows for c, b in columns)

        return te.compute(shape, pixel, name="resize")

    return context.alone(resize, given["input"])


@dataclass(frozen=True)
class _Axis:
    """One axis of an image that is resized as PyTorch does it.

    Attributes:
        size, out: before and after.
        scale: what the caller multiplied the size with, if that was given: ``out`` may have been rounded down.
        linear: neighbours are weighed; else the pixel before is taken.
        corners: the centres of the first and last pixels stay where they are.
    """

    size: int
    out: int
    scale: float | None
    linear: bool
    corners: bool

    def sources(self, at: Any) -> list[tuple[Any, Any]]:
        """The pixels that make the one at an index, and their weights."""
        step = self._step()
        place = tirx.Cast("float32", at) * step
        if self.linear and not self.corners:
            place = tirx.max(place + (step * 0.5 - 0.5), 0.0)
        first = tirx.min(tirx.Cast("int32", tirx.floor(place)), self.size - 1)
        if not self.linear:
            return [(first, tirx.const(1.0, "float32"))]
        part = place - tirx.Cast("float32", first)
        return [(first, 1.0 - part), (tirx.min(first + 1, self.size - 1), part)]

    def _step(self) -> Any:
        if self.corners:
            step = (self.size - 1) / max(1, self.out - 1)
        else:
            doubled = not self.linear and self.out == 2 * self.size  # whatever the scale, each pixel is taken twice
            step = 1 / self.scale if self.scale and not doubled else self.size / self.out
        return tirx.const(step, "float32")


def _pixel_shuffle(node: fx.Node, context: Context) -> Any:
    """``[batch, c r r, h, w] -> [batch, c, h r, w r]``."""
    given, out = arguments(node), node.meta["val"]
    factor, shape = given["upscale_factor"], context.symbols.dims(out.shape)
    if len(shape) == 4 and _known(out.shape[1:]) and _suits(node, factor):
        return _by_kernel(node, (factor, factor), woven=True, context=context)

    def pixel_shuffle(x: te.Tensor) -> te.Tensor:
        def element(*i: Any) -> Any:
            *lead, channel, row, column = i
            place = (row % factor) * factor + column % factor
            return x(*lead, channel * factor**2 + place, row // factor, column // factor)

        return te.compute(shape, element, name="pixel_shuffle")

    return context.tensor(pixel_shuffle, given["self"])


def _by_kernel(node: fx.Node, factors: tuple[int, int], woven: bool, context: Context) -> Any:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    batch, channels, height, width = context.symbols.dims(source.meta["val"].shape)
    problem = interleave.Enlargement(context.parameter(batch), channels, height, width, *factors, woven)
    build = lambda: interleave.build(problem, context.target)  # noqa: E731
    name = "pixel_shuffle" if woven else "resize"
    return context.call((name, repr(problem)), build, [source], context.type_of(node.meta["val"]), name)


def _suits(node: fx.Node, columns: int) -> bool:
    return node.meta["val"].dtype == torch.float32 and 1 <= columns <= MOST


def _known(*shapes: Sequence[Any]) -> bool:
    return all(isinstance(size, int) for shape in shapes for size in shape)


CONVERTERS: dict[Any, Any] = {
    aten.pixel_shuffle.default: _pixel_shuffle,
    aten.upsample_nearest2d.vec: _nearest,
    aten.upsample_bilinear2d.vec: _linear,
}

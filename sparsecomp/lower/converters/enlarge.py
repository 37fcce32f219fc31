"""Images made larger: interpolated, by repeated pixels, and by pixels from several channels."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx
from tvm import te, topi

from sparsecomp.kernels import interleave
from sparsecomp.lower.context import Context
from sparsecomp.program import arguments

aten = torch.ops.aten
MOST = 4  # a factor up to which vectors are woven together


def _nearest(node: fx.Node, context: Context) -> Any:
    source, out = arguments(node)["input"].meta["val"].shape, node.meta["val"].shape
    if _known(source[1:], out[1:]):
        rows, columns = out[2] // source[2], out[3] // source[3]
        if (source[2] * rows, source[3] * columns) == tuple(out[2:]) and _suits(node, columns):
            return _by_kernel(node, (rows, columns), woven=False, context=context)
    return _resize(node, context, "nearest_neighbor")


def _linear(node: fx.Node, context: Context) -> Any:
    return _resize(node, context, "linear")


def _resize(node: fx.Node, context: Context, method: str) -> Any:
    """``upsample_*2d.vec(x, size, ...)``, kept apart so that a reader does not interpolate each pixel again."""
    given = arguments(node)
    size = context.symbols.dims(node.meta["val"].shape[2:])
    if not _known(size):
        return None
    corners = bool(given.get("align_corners"))
    mode = "align_corners" if corners else "asymmetric" if method == "nearest_neighbor" else "half_pixel"

    def resize(x: te.Tensor) -> te.Tensor:
        rounding = "floor" if method == "nearest_neighbor" else ""
        return topi.image.resize2d(x, (0.0,) * 4, size, "NCHW", method, mode, rounding_method=rounding)

    return context.alone(resize, given["input"])


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

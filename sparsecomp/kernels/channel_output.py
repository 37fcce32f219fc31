"""The output of kernels whose vectors hold channels: turned to rows of pixels, finished, and stored as NCHW."""

import tvm.tirx.script.builder.ir as T

from sparsecomp.kernels.emit import Expr, argument, guard, load, put, ramp, scratch, splat, store, transpose
from sparsecomp.kernels.epilogue import finish
from sparsecomp.kernels.problem import ConvProblem


class ChannelOutput:
    """Bias, residual and y of a kernel, declared as its next parameters.

    Args:
        problem: what the kernel computes.
        batch: images, a number or a variable.
        lanes: channels of a vector, and pixels that are stored at once.
    """

    def __init__(self, problem: ConvProblem, batch: Expr, lanes: int) -> None:
        shape = (batch, problem.out_channels, problem.out_height, problem.out_width)
        flat = (batch, problem.out_channels, problem.out_height * problem.out_width)
        self.epilogue, self.lanes = problem.epilogue, lanes
        self.bias = argument("bias", (problem.out_channels,)) if problem.epilogue.bias else None
        residual = argument("residual", shape) if problem.epilogue.residual else None
        y = argument("y", shape)
        self.residual = None if residual is None else T.decl_buffer(flat, data=residual.data)
        self.y = T.decl_buffer(flat, data=y.data)

    def store(self, sums: list[Expr], at: tuple[Expr, Expr, Expr], mask: Expr | None, left: Expr | None) -> None:
        """Store a square of complete sums.

        Args:
            sums: one vector of channels for each pixel.
            at: image, first channel, first pixel.
            mask: which of the pixels exist; None is all.
            left: how many of the channels exist; None is all.
        """
        lanes, (image, channel, pixel) = self.lanes, at
        turned = scratch("turned", lanes * lanes)
        for i, value in enumerate(transpose(sums, lanes)):
            store(turned, value, ramp(i * lanes, lanes))
        with T.serial(0, lanes) as i:
            vector = load(turned, None, lanes, i * lanes)
            exists = None if left is None else i < left
            guard(exists, lambda: self.put(vector, (image, channel + i, pixel), mask, lanes))

    def put(self, value: Expr, index: tuple[Expr, Expr, Expr], mask: Expr | None, lanes: int) -> None:
        """Finish and store a vector of pixels of one channel, from this image, channel and pixel on."""
        bias = None if self.bias is None else splat(self.bias[index[1]], lanes)
        residual = None if self.residual is None else load(self.residual, mask, lanes, *index)
        put(self.y, finish(value, bias, residual, self.epilogue, lanes), mask, lanes, *index)

"""The output of kernels whose vectors hold channels: turned to rows of pixels, finished, and stored as NCHW."""

import tvm.tirx.script.builder.ir as T
from tvm import tirx

from sparsecomp.kernels.emit import Expr, guard, load, ramp, scratch, splat, store, transpose
from sparsecomp.kernels.epilogue import at_once
from sparsecomp.kernels.finished import Piece, output_arguments, put_finished
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
        self.epilogue, self.lanes, self.channels = problem.epilogue, lanes, problem.out_channels
        self.bias, residual, y = output_arguments(problem.epilogue, problem.out_channels, shape)
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
        together = min(at_once(self.epilogue), lanes)
        with T.serial(0, lanes // together) as group:
            first, pieces = group * together, []
            for i in range(together):
                exists = None if left is None or i == 0 else first + i < left
                vector = load(turned, None, lanes, (first + i) * lanes)
                pieces.append(self.piece(vector, (image, channel + first + i, pixel), mask, exists))
            guard(None if left is None else first < left, lambda: self.put(pieces))

    def piece(self, value: Expr, at: tuple[Expr, Expr, Expr], mask: Expr | None, exists: Expr | None) -> Piece:
        """A vector of pixels of one channel, from this image, channel and pixel on."""
        image, channel, pixel = at
        channel = channel if exists is None else tirx.min(channel, self.channels - 1)
        bias = None if self.bias is None else splat(self.bias[channel], self.lanes)
        return Piece(value, bias, (image, channel, pixel), mask, exists)

    def put(self, pieces: list[Piece]) -> None:
        """Finish and store vectors."""
        put_finished(pieces, self.y, self.residual, self.epilogue, self.lanes)

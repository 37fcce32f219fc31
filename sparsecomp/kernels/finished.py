"""Complete sums on their way to the output: an epilogue is applied to some vectors at once, and each is stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from sparsecomp.kernels.emit import Buffer, Expr, argument, guard, load, put
from sparsecomp.kernels.epilogue import Sums, finish
from sparsecomp.kernels.problem import Epilogue


@dataclass(frozen=True)
class Piece:
    """A vector of complete sums.

    Attributes:
        value: the sums.
        bias: a vector, or None.
        index: where it goes, in the output, and where the residual is, if any; within both even if it does not exist.
        mask: which of its lanes exist; None is all.
        exists: whether it is to be stored; None is yes.
    """

    value: Expr
    bias: Expr | None
    index: tuple[Expr, ...]
    mask: Expr | None = None
    exists: Expr | None = None


def output_arguments(
    epilogue: Epilogue, channels: int, shape: Sequence[Expr]
) -> tuple[Buffer | None, Buffer | None, Buffer]:
    """Bias and residual, where the epilogue has them, and y: the next parameters of a kernel."""
    bias = argument("bias", (channels,)) if epilogue.bias else None
    residual = argument("residual", shape) if epilogue.residual else None
    return bias, residual, argument("y", shape)


def put_finished(pieces: Sequence[Piece], y: Buffer, residual: Buffer | None, epilogue: Epilogue, lanes: int) -> None:
    """Finish vectors of so many lanes together, and store them."""
    sums = []
    for piece in pieces:
        added = None if residual is None else load(residual, piece.mask, lanes, *piece.index)
        sums.append(Sums(piece.value, piece.bias, added))
    for value, piece in zip(finish(sums, epilogue, lanes), pieces, strict=True):
        guard(piece.exists, partial(put, y, value, piece.mask, lanes, *piece.index))

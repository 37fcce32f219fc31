"""Images made larger by whole factors: pixels that are repeated, or woven together from several channels.

Every pixel is loaded once, and whole vectors are stored.

    for each plane of the result (image, channel)                       parallel
        for each row of the input, for each vector of its pixels
            load the vectors of the channels that its results come from
            weave them together by shuffles, and store each row that they give
"""

from dataclasses import dataclass

import tvm
import tvm.tirx.script.builder.ir as T
from tvm import tirx
from tvm.script.ir_builder import IRBuilder

from sparsecomp.kernels.emit import Expr, argument, below, each_plane, let, load, put, shuffle
from sparsecomp.schedules.finish import in_root_block
from sparsecomp.schedules.loops import Dim
from sparsecomp.schedules.parallelize import MIN_WORK
from sparsecomp.targets.base import Target


@dataclass(frozen=True)
class Enlargement:
    """``y[n, c, h * rows + i, w * columns + j] = x[n, C, h, w]`` for all ``i < rows`` and ``j < columns``.

    Attributes:
        batch, channels, height, width: of x.
        rows, columns: the factors.
        woven: C is ``(c * rows + i) * columns + j``, as in pixel_shuffle; else c: nearest neighbours.
    """

    batch: Dim
    channels: int
    height: int
    width: int
    rows: int
    columns: int
    woven: bool

    @property
    def out_channels(self) -> int:
        """Channels of y."""
        return self.channels // (self.rows * self.columns) if self.woven else self.channels


def build(problem: Enlargement, target: Target) -> tvm.tirx.PrimFunc:
    """The function (x, y), NCHW, float32."""
    p = problem
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("interleave")
        x = argument("x", (p.batch, p.channels, p.height, p.width))
        y = argument("y", (p.batch, p.out_channels, p.height * p.rows, p.width * p.columns))

        def plane(image: Expr, channel: Expr) -> None:
            with T.serial(0, p.height) as row:
                _row(p, x, y, (image, channel, row), target.lanes)

        each_plane(p.batch, p.out_channels, _workers(p, target), plane)
    return in_root_block(builder.get())


def _workers(p: Enlargement, target: Target) -> int:
    """One where it takes less than to wake the others."""
    values = p.out_channels * p.height * p.rows * p.width * p.columns
    return target.cores if not isinstance(p.batch, int) or 2 * p.batch * values >= MIN_WORK else 1


def _row(p: Enlargement, x: Expr, y: Expr, at: tuple[Expr, Expr, Expr], lanes: int) -> None:
    """What comes of one row of the input."""
    image, channel, row = at
    with T.serial(0, -(-p.width // lanes)) as strip:
        # The last vector begins early rather than end outside.
        start = let("start", tirx.min(strip * lanes, max(0, p.width - lanes)))
        mask = None if p.width >= lanes else below(start, p.width, lanes)

        def source(i: int, j: int) -> Expr:
            own = (channel * p.rows + i) * p.columns + j if p.woven else channel
            return let("pixels", load(x, mask, lanes, image, own, row, start))

        vectors = [] if p.woven else _weave([source(0, 0)], p.columns, lanes)
        for i in range(p.rows):
            if p.woven:
                vectors = _weave([source(i, j) for j in range(p.columns)], p.columns, lanes)
            for part, vector in enumerate(vectors):
                column = let("column", start * p.columns + part * lanes)
                whole = None if mask is None else below(column, p.width * p.columns, lanes)
                put(y, vector, whole, lanes, image, channel, row * p.rows + i, column)


def _weave(vectors: list[Expr], factor: int, lanes: int) -> list[Expr]:
    """Lane 0 of each vector, lane 1 of each ...; a single vector counts ``factor`` times."""
    places = [(n % factor % len(vectors)) * lanes + n // factor for n in range(factor * lanes)]
    return [shuffle(vectors, places[start : start + lanes]) for start in range(0, factor * lanes, lanes)]

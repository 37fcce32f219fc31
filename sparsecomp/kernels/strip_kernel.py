"""The dense convolution kernel that packs nothing: strips of an output row times panels of output channels.

Packing an image for the column kernel takes as long as multiplying a copy of each pixel with two or three output
channels: much, where there are few. Here vectors go from the image to the products in registers.

    for each row of the output                                          parallel
        for each panel of channels, for each strip of the row
            for each input channel, for each row of the window
                for each column of the window, the vectors of inputs at it      (`window_input`)
                    sums[panel, strip] += w[channel, row, column, panel] * inputs
            apply the epilogue, store
"""

from functools import partial
from itertools import product

import numpy as np
import numpy.typing as npt
import tvm
import tvm.tirx.script.builder.ir as T
from tvm import tirx
from tvm.script.ir_builder import IRBuilder

from sparsecomp.kernels.emit import (
    CACHE_FLOATS,
    Buffer,
    Expr,
    argument,
    clear,
    each_run,
    let,
    load,
    local,
    prefetch,
    ramp,
    splat,
    store,
)
from sparsecomp.kernels.epilogue import rows_in_loop
from sparsecomp.kernels.finished import Piece, output_arguments, put_finished
from sparsecomp.kernels.problem import ConvProblem
from sparsecomp.kernels.row_output import Row, SliceRows
from sparsecomp.kernels.schedule import StripSchedule
from sparsecomp.kernels.window_input import WindowInput
from sparsecomp.kernels.windows import Window

Array = npt.NDArray[np.generic]


def pack(weight: Array, problem: ConvProblem, schedule: StripSchedule) -> tuple[Array, ...]:
    """The weight OIHW as ``[panels, in channels, taps, channels of a panel]``, zeros at the end, in a line."""
    cube = weight.reshape(problem.out_channels, problem.in_channels, problem.taps)
    padded = np.pad(cube, ((0, -len(cube) % schedule.rows), (0, 0), (0, 0))).astype(np.float32)
    panels = padded.reshape(-1, schedule.rows, *cube.shape[1:])
    return (np.ascontiguousarray(panels.transpose(0, 2, 3, 1)).ravel(),)


def build(problem: ConvProblem, schedule: StripSchedule) -> tvm.tirx.PrimFunc:
    """The kernel ``(x, values, [bias], [residual], y)``."""
    return _Builder(problem, schedule).build()


class _Builder:
    """Emits one kernel; the fields are what its parts share."""

    def __init__(self, problem: ConvProblem, schedule: StripSchedule) -> None:
        p, self.problem, self.schedule = problem, problem, schedule
        self.strip = schedule.vectors * schedule.lanes
        self.panels = -(-p.out_channels // schedule.rows)
        self.batch = tirx.Var("batch", "int64") if p.batch is None else p.batch
        padding = (p.padding[0], p.padding[2])
        window = Window(p.batch, p.in_channels, p.height, p.width, p.kernel, p.stride, padding)
        self.input = WindowInput(window, schedule.lanes)

    def build(self) -> tvm.tirx.PrimFunc:
        p = self.problem
        with IRBuilder() as builder, T.prim_func(s_tir=True):
            T.func_name("strips")
            self._declare()
            images = self.batch if isinstance(self.batch, int) else let("images", tirx.Cast("int32", self.batch))
            runs = each_run(images * p.out_height, self.schedule.workers, p.macs)
            with runs as (begin, end), T.serial(begin, end) as line, T.serial(0, self.panels) as panel:
                self._row(let("image", line // p.out_height), let("row", line % p.out_height), panel)
        return builder.get()

    def _declare(self) -> None:
        p, rows = self.problem, self.panels * self.schedule.rows
        shape = (self.batch, p.out_channels, p.out_height, p.out_width)
        self.input.x = argument("x", (self.batch, p.in_channels, p.height, p.width))
        self.values = argument("values", (rows * p.in_channels * p.taps,))
        self.bias, self.residual, self.y = output_arguments(p.epilogue, p.out_channels, shape)

    def _row(self, image: Expr, row: Expr, panel: Expr) -> None:
        """A row of the channels of a panel."""
        body = partial(self._strip, (image, row), panel)
        self.input.each_strip(self.problem.out_width, body, self.schedule.vectors)

    def _strip(self, line: tuple[Expr, Expr], panel: Expr, column: Expr, like: int) -> None:
        """Of one row, from one column on; ``like`` is a column whose strip has the same lanes outside."""
        p, s, (image, row) = self.problem, self.schedule, line
        sums = local("sums", s.rows * self.strip)
        clear(sums, s.rows * self.strip, s.lanes)
        rows = SliceRows(1, s.rows, s.lanes, lambda _, r: panel * s.rows + r, p.out_channels, self.strip)
        rows.expect(self.y, self.residual, lambda channel, i: (image, channel, row, column + i))
        top, left = (row * p.stride[0] - p.padding[0], column * p.stride[1] - p.padding[2])
        first = let("first", tirx.max(0, -top))
        with T.serial(0, p.in_channels) as channel:
            self.input.plane = (image, channel)
            self._expect_input(panel, channel, top + p.kernel[0], left + p.padding[2])
            with T.serial(first, tirx.min(p.kernel[0], p.height - top)) as down:
                values = ((panel * p.in_channels + channel) * p.kernel[0] + down) * (p.kernel[1] * s.rows)
                self._multiply(sums, values, top + down, left, like * p.stride[1] - p.padding[2])
        together = rows_in_loop(p.epilogue, s.vectors)
        rows.store(sums, together, lambda sums, some: self._finish(sums, some, (image, row, column)))

    def _expect_input(self, panel: Expr, channel: Expr, row: Expr, column: Expr) -> None:
        """While the first panel is multiplied, prefetch what the next row of the output is the first to read."""
        p, image = self.problem, self.input.plane[0]
        with T.If(panel == 0), T.Then():
            for down, i in product(range(p.stride[0]), range(0, self.strip * p.stride[1], CACHE_FLOATS)):
                prefetch(self.input.x, image, channel, row + down, column + i, level=2)

    def _multiply(self, sums: Buffer, values: Expr, row: Expr, left: Expr, like: int) -> None:
        """One row of the window in one channel."""
        p, s = self.problem, self.schedule
        step = s.lanes * p.stride[1]
        strips = [self.input.row(row, left + v * step, like + v * step) for v in range(s.vectors)]
        for (column, *_), vectors in (zip(*each, strict=True) for each in zip(*strips, strict=True)):
            for r in range(s.rows):
                weight = let("weight", splat(self.values[values + (column * s.rows + r)], s.lanes))
                for v, vector in enumerate(vectors):
                    i = ramp((r * s.vectors + v) * s.lanes, s.lanes)
                    store(sums, sums[i] + weight * vector, i)

    def _finish(self, sums: Buffer, rows: list[Row], at: tuple[Expr, Expr, Expr]) -> None:
        """Complete sums of some channels."""
        s, (image, row, column) = self.schedule, at
        pieces = []
        for each, v in product(rows, range(s.vectors)):
            bias = None if self.bias is None else splat(self.bias[each.number], s.lanes)
            value = self.input.in_order(let("value", load(sums, None, s.lanes, each.start + v * s.lanes)))
            pieces.append(Piece(value, bias, (image, each.number, row, column + v * s.lanes), None, each.exists))
        put_finished(pieces, self.y, self.residual, self.problem.epilogue, s.lanes)

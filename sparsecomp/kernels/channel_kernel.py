"""The dense convolution kernel: a tile of pixels times a panel of output channels.

A vector holds output channels, and each value of x is broadcast, so that no image size wastes lanes and no stride or
tap makes a load unaligned. See ``schedule.ChannelSchedule`` for the choices.

    copy x between zeros, if it has padding
    for each panel of channels, for each chunk of image rows         parallel over both
        for each depth block, for each tile of pixels of the chunk
            sums[tile, panel] += x[channel, pixel of the tap] * w[channel, tap, panel]
        transpose the sums of the chunk to rows of pixels, apply the epilogue, store
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tvm
import tvm.tirx.script.builder.ir as T
from tvm import tirx
from tvm.script.ir_builder import IRBuilder

from sparsecomp.kernels.channel_output import ChannelOutput
from sparsecomp.kernels.emit import (
    Buffer,
    Expr,
    argument,
    below,
    clear,
    each_run,
    let,
    load,
    local,
    prefetch,
    prefetch_share,
    put,
    ramp,
    scratch,
    splat,
    store,
)
from sparsecomp.kernels.problem import ConvProblem
from sparsecomp.kernels.schedule import ChannelSchedule

Array = npt.NDArray[np.generic]


def pack(weight: Array, problem: ConvProblem, schedule: ChannelSchedule) -> tuple[Array, ...]:
    """The weight OIHW as ``[groups, panels, taps, in channels, channels of a panel]``, zeros at the end, in a line."""
    panel = schedule.vectors * schedule.lanes
    rows = problem.out_channels // problem.groups
    cube = weight.reshape(problem.groups, rows, -1, problem.taps)
    padded = np.pad(cube, ((0, 0), (0, -rows % panel), (0, 0), (0, 0))).astype(np.float32)
    panels = padded.reshape(problem.groups, -1, panel, *cube.shape[2:])
    return (np.ascontiguousarray(panels.transpose(0, 1, 4, 3, 2)).ravel(),)


def build(problem: ConvProblem, schedule: ChannelSchedule) -> tvm.tirx.PrimFunc:
    """The kernel ``(x, values, [bias], [residual], y)``; the batch must be known."""
    return _Builder(problem, schedule).build()


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a register tile is, and how many tiles of its panel are done."""

    source: Buffer
    image: Expr
    group: Expr
    panel: Expr
    block: Expr
    row: Expr
    column: Expr
    done: Expr


class _Builder:
    """Emits one kernel; the fields are what its parts share."""

    def __init__(self, problem: ConvProblem, schedule: ChannelSchedule) -> None:
        assert problem.batch is not None
        self.images = problem.batch
        self.problem, self.schedule = problem, schedule
        p = problem
        self.rows, self.channels = p.out_channels // p.groups, p.in_channels // p.groups
        self.panel = schedule.vectors * schedule.lanes
        self.panels = -(-self.rows // self.panel)
        self.blocks = -(-self.channels // schedule.depth)
        self.full, self.rest = divmod(p.out_width, schedule.pixels)
        self.row_tiles = self.full + bool(self.rest)
        self.chunks = -(-p.out_height // schedule.chunk)
        # The weights of a block serve the rows of a chunk, or of all chunks, while those that come next are prefetched.
        self.share = -(-self.panel // ((schedule.chunk if self.blocks > 1 else p.out_height) * self.row_tiles))
        self.height = p.height + p.padding[0] + p.padding[1]
        self.width = p.width + p.padding[2] + p.padding[3]

    def build(self) -> tvm.tirx.PrimFunc:
        p, parts = self.problem, self.schedule.workers
        with IRBuilder() as builder, T.prim_func(s_tir=True):
            T.func_name("channel_panel")
            self._declare()
            source = self._padded() if any(p.padding) else self.x
            units = self.images * p.groups * self.panels * self.chunks
            with each_run(units, parts, p.macs) as (begin, end):
                self.sums = scratch("sums", (self.schedule.chunk * p.out_width + self.schedule.lanes) * self.panel)
                with T.serial(begin, end) as unit:
                    self._unit(source, unit)
        return builder.get()

    def _declare(self) -> None:
        p = self.problem
        self.x = argument("x", (p.batch, p.in_channels, p.height, p.width))
        self.values = argument("values", (p.groups * self.panels * self.channels * p.taps * self.panel,))
        self.output = ChannelOutput(p, self.images, self.schedule.lanes)

    def _padded(self) -> Buffer:
        """The input between zeros."""
        p = self.problem
        planes = self.images * p.in_channels
        buffer = IRBuilder.name(
            "padded", T.alloc_buffer((self.images, p.in_channels, self.height, self.width), align=64)
        )
        runs = each_run(planes, self.schedule.workers)
        with runs as (begin, end), T.serial(begin, end) as plane, T.serial(0, self.height) as row:
            image, channel = plane // p.in_channels, plane % p.in_channels
            inside = tirx.And(row >= p.padding[0], row < p.padding[0] + p.height)
            with T.serial(0, self.width) as column:
                store(buffer, tirx.const(0.0, "float32"), image, channel, row, column)
            with T.If(inside), T.Then(), T.serial(0, p.width) as column:
                value = self.x[image, channel, row - p.padding[0], column]
                store(buffer, value, image, channel, row, column + p.padding[2])
        return buffer

    def _unit(self, source: Buffer, unit: Expr) -> None:
        """All of one chunk of rows for one panel."""
        p, s = self.problem, self.schedule
        chunk, rest = let("chunk", unit % self.chunks), let("rest", unit // self.chunks)
        panel, group = let("panel", rest % self.panels), let("group", rest // self.panels % p.groups)
        image = let("image", rest // (self.panels * p.groups))
        first_row = let("first_row", chunk * s.chunk)
        rows = let("rows", tirx.min(s.chunk, p.out_height - first_row))
        with T.serial(0, self.blocks) as block, T.serial(0, rows) as row, T.serial(0, self.row_tiles) as tile:
            done = (row if self.blocks > 1 else first_row + row) * self.row_tiles + tile
            place = _Place(source, image, group, panel, block, first_row + row, tile * s.pixels, done)
            at = let("at", (row * p.out_width + tile * s.pixels) * self.panel)
            self._tile(place, at, tile)
        self._finish(image, group, panel, first_row * p.out_width, rows * p.out_width)

    def _tile(self, place: _Place, at: Expr, tile: Expr) -> None:
        """One tile; the last of a row may have fewer pixels."""
        if self.rest == 0:
            self._product(place, at, self.schedule.pixels)
            return
        with T.If(tile < self.full):
            with T.Then():
                self._product(place, at, self.schedule.pixels)
            with T.Else():
                self._product(place, at, self.rest)

    def _product(self, place: _Place, at: Expr, pixels: int) -> None:
        """A register tile, added over one depth block."""
        p, s = self.problem, self.schedule
        acc = local("acc", pixels * self.panel)
        self._start(acc, place.block, at, pixels)
        top, left = let("top", place.row * p.stride[0]), let("left", place.column * p.stride[1])
        first = let("first_channel", place.block * s.depth)
        count = let("count", tirx.min(s.depth, self.channels - first))
        # Taps outside: LLVM would keep what neighbouring taps share of x in registers, and spill the sums.
        with T.serial(0, p.kernel[0]) as r, T.serial(0, p.kernel[1]) as c:
            row, column = let("row", top + r * p.dilation[0]), let("column", left + c * p.dilation[1])
            tap = (place.group * self.panels + place.panel) * p.taps + r * p.kernel[1] + c
            line = let("line", tap * self.channels + first)
            plane = let("plane", place.group * self.channels + first)
            ahead = let("ahead", (line + self._distance(place.block)) * self.panel)
            with T.serial(0, count) as j:
                prefetch_share(self.values, ahead, place.done * count + j, self.share)
                self._multiply(acc, line + j, (place.source, place.image, plane + j, row, column), pixels)
        for i in range(0, pixels * self.panel, s.lanes):
            put(self.sums, acc[ramp(i, s.lanes)], None, s.lanes, at + i)

    def _distance(self, block: Expr) -> Expr:
        """How many lines of weights lie between those of a tap and the same tap of the next block, or panel."""
        s, p = self.schedule, self.problem
        panel = p.taps * self.channels - (self.blocks - 1) * s.depth
        return panel if self.blocks == 1 else tirx.if_then_else(block == self.blocks - 1, panel, s.depth)

    def _multiply(self, acc: Buffer, line: Expr, at: tuple[Buffer, Expr, Expr, Expr, Expr], pixels: int) -> None:
        """Add what one tap of one channel contributes."""
        s, (source, image, plane, row, column) = self.schedule, at
        if self.problem.taps == 1:
            # Planes are too far apart for the hardware to see what comes next, which another core may have written.
            down, right = (2, 0) if self.row_tiles == 1 else (0, 2 * pixels)
            stride = self.problem.stride
            prefetch(source, image, plane, row + down * stride[0], column + right * stride[1], level=2)
        starts = [line * self.panel + v * s.lanes for v in range(s.vectors)]
        weights = [let("w", load(self.values, None, s.lanes, start)) for start in starts]
        for t in range(pixels):
            value = let("value", splat(source[image, plane, row, column + t * self.problem.stride[1]], s.lanes))
            for v, weight in enumerate(weights):
                i = ramp(t * self.panel + v * s.lanes, s.lanes)
                store(acc, acc[i] + value * weight, i)

    def _start(self, acc: Buffer, block: Expr, at: Expr, pixels: int) -> None:
        """Begin at zero in the first depth block, else with the sums so far."""
        lanes = self.schedule.lanes
        clear(acc, pixels * self.panel, lanes)
        if self.blocks > 1:
            with T.If(block > 0), T.Then():
                for i in range(0, pixels * self.panel, lanes):
                    store(acc, load(self.sums, None, lanes, at + i), ramp(i, lanes))

    def _finish(self, image: Expr, group: Expr, panel: Expr, first: Expr, pixels: Expr) -> None:
        """Transpose the complete sums to rows of pixels, apply the epilogue and store them."""
        lanes = self.schedule.lanes
        first = let("first_pixel", first)
        with T.serial(0, self.schedule.vectors) as v, T.serial(0, (pixels + lanes - 1) // lanes) as chunk:
            pixel = let("pixel", chunk * lanes)
            sums = [
                let("sums", load(self.sums, None, lanes, (pixel + i) * self.panel + v * lanes)) for i in range(lanes)
            ]
            mask = below(pixel, pixels, lanes)
            row = let("row", panel * self.panel + v * lanes)
            left = None if self.rows % self.panel == 0 else self.rows - row
            self.output.store(sums, (image, group * self.rows + row, first + pixel), mask, left)

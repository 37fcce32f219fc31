"""Dense 3x3 convolution with fewer multiplications: Winograd's algorithm, F(2x2, 3x3) or F(4x4, 3x3).

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (2016), section 4. Vectors hold channels, as in
``channel_kernel``. See ``schedule.WinogradSchedule`` for the choices.

    for each chunk of rows of tiles, for each panel of channels         parallel over both
        V[p, tile, channel] = B^T d B of each tile, once a chunk        p: the (m + 2)^2 positions of a tile
        for each position p
            M[p, tile, panel] = V[p, tile, :] @ U[panel, p, :, :]       U = G g G^T, packed at compile time
        y = A^T M A, epilogue
"""

import numpy as np
import numpy.typing as npt
import tvm
import tvm.tirx.script.builder.ir as T
from tvm import tirx
from tvm.script.ir_builder import IRBuilder

from sparsecomp.kernels.channel_output import ChannelOutput
from sparsecomp.kernels.cook_toom import transforms
from sparsecomp.kernels.emit import (
    Expr,
    argument,
    below,
    each_worker,
    guard,
    let,
    load,
    local,
    prefetch_share,
    ramp,
    scratch,
    splat,
    spread,
    store,
    transpose,
)
from sparsecomp.kernels.problem import ConvProblem
from sparsecomp.kernels.schedule import WinogradSchedule
from sparsecomp.kernels.winograd_transforms import from_points, to_points

Array = npt.NDArray[np.generic]


def pack(weight: Array, problem: ConvProblem, schedule: WinogradSchedule) -> tuple[Array, ...]:
    """The weight OIHW, transformed, as ``[panels, positions, in channels, channels of a panel]``, in a line."""
    panel = schedule.vectors * schedule.lanes
    g = transforms(schedule.outputs).weights
    filters = np.einsum("ia,ocab,jb->ijco", g, weight.astype(np.float64), g, optimize=True)
    padded = np.pad(filters.astype(np.float32), ((0, 0), (0, 0), (0, 0), (0, -problem.out_channels % panel)))
    panels = padded.reshape(len(g) ** 2, problem.in_channels, -1, panel)
    return (np.ascontiguousarray(panels.transpose(2, 0, 1, 3)).ravel(),)


def build(problem: ConvProblem, schedule: WinogradSchedule) -> tvm.tirx.PrimFunc:
    """The kernel ``(x, values, [bias], [residual], y)``."""
    return _Builder(problem, schedule).build()


class _Builder:
    """Emits one kernel; the fields are what its parts share."""

    def __init__(self, problem: ConvProblem, schedule: WinogradSchedule) -> None:
        self.problem, self.schedule = problem, schedule
        p, s = problem, schedule
        self.matrices = transforms(s.outputs)
        self.size = s.outputs + 2
        self.positions = self.size**2
        self.down, self.across = -(-p.out_height // s.outputs), -(-p.out_width // s.outputs)
        self.tiles = s.rows * self.across
        self.panel = s.vectors * s.lanes
        self.panels = -(-p.out_channels // self.panel)
        # One vector more than the channels need: strides of a power of two would share cache sets.
        self.stride = (-(-p.in_channels // s.lanes) + 1) * s.lanes
        self.read = -(-p.width // s.lanes) * s.lanes  # pixels of a row of x, in whole vectors
        self.line = max(p.padding[2] + self.read, self.across * s.outputs + 2)
        self.input_size, self.product_size = spread(self.tiles * self.stride), spread(self.tiles * self.panel)
        self.out_line = -(-self.across * s.outputs // s.lanes) * s.lanes

    def build(self) -> tvm.tirx.PrimFunc:
        p, parts = self.problem, self.schedule.workers
        with IRBuilder() as builder, T.prim_func(s_tir=True):
            T.func_name("winograd")
            T.func_attr({"tirx.noalias": True})
            batch = tirx.Var("batch", "int64") if p.batch is None else p.batch
            self.x = argument("x", (batch, p.in_channels, p.height, p.width))
            self.values = argument("values", (self.panels * self.positions * p.in_channels * self.panel,))
            self.output = ChannelOutput(p, batch, self.schedule.lanes)
            images = batch if isinstance(batch, int) else let("images", tirx.Cast("int32", batch))
            self.rows = images * self.down
            units = let("units", (self.rows + self.schedule.rows - 1) // self.schedule.rows * parts)
            with each_worker(parts) as worker:
                begin, end = let("begin", worker * units // parts), let("end", (worker + 1) * units // parts)
                self._allocate()
                with T.serial(begin // parts, (end + parts - 1) // parts) as chunk:
                    first, last = tirx.max(begin - chunk * parts, 0), tirx.min(end - chunk * parts, parts)
                    self._chunk(chunk * self.schedule.rows, first * self.panels // parts, last * self.panels // parts)
        return builder.get()

    def _allocate(self) -> None:
        lanes, size, outputs = self.schedule.lanes, self.size, self.schedule.outputs
        self.lines = scratch("lines", size * self.line * lanes)
        self.inputs = scratch("inputs", self.positions * self.input_size)
        self.products = scratch("products", self.positions * self.product_size)
        self.half = scratch("half", outputs * size * lanes)
        self.pixels = scratch("pixels", outputs * self.out_line * lanes)
        # What lies outside of the image, left and right, stays zero.
        with T.serial(0, size * self.line) as i:
            store(self.lines, splat(0.0, lanes), ramp(i * lanes, lanes))

    def _chunk(self, first_row: Expr, first_panel: Expr, last_panel: Expr) -> None:
        """All rows of tiles of a chunk, for some panels."""
        rows = self.schedule.rows
        begin, end = let("first_panel", first_panel), let("last_panel", last_panel)
        with T.If(end > begin), T.Then():
            with T.serial(0, rows) as row:
                at = let("at", tirx.min(first_row + row, self.rows - 1))
                with T.serial(0, self.stride // self.schedule.lanes - 1) as group:
                    self._transform_inputs(at // self.down, at % self.down, row, group)
            with T.serial(begin, end) as panel:
                with T.serial(0, self.positions) as position:
                    self._products(panel, position)
                with T.serial(0, rows) as row, T.serial(0, self.schedule.vectors) as vector:
                    at = let("at", first_row + row)
                    exists = None if self.schedule.rows == 1 else at < self.rows
                    guard(exists, lambda: self._transform_outputs(at // self.down, at % self.down, row, panel, vector))

    def _transform_inputs(self, image: Expr, down: Expr, row: Expr, group: Expr) -> None:
        """B^T d B of the tiles of one row of tiles, for one vector of channels."""
        p, lanes, size = self.problem, self.schedule.lanes, self.size
        with T.serial(0, size) as i:
            self._read_line(image, group, let("source", down * self.schedule.outputs + i - p.padding[0]), i)
        with T.serial(0, p.width) as column:
            at = let("at", (column + p.padding[2]) * lanes)
            lines = [let("line", load(self.lines, None, lanes, i * self.line * lanes + at)) for i in range(size)]
            for i, value in enumerate(to_points(self.matrices.inputs, lines, lanes)):
                store(self.lines, value, ramp(i * self.line * lanes + at, lanes))
        with T.serial(0, self.across) as tile, T.serial(0, size) as i:
            at = let("at", (i * self.line + tile * self.schedule.outputs) * lanes)
            line = [let("pixel", load(self.lines, None, lanes, at + j * lanes)) for j in range(size)]
            for j, value in enumerate(to_points(self.matrices.inputs, line, lanes)):
                place = (row * self.across + tile) * self.stride + group * lanes
                index = (i * size + j) * self.input_size + place
                store(self.inputs, value, ramp(index, lanes))

    def _read_line(self, image: Expr, group: Expr, source: Expr, i: Expr) -> None:
        """One row of the image, turned so that vectors hold channels; a row outside is zero."""
        p, lanes = self.problem, self.schedule.lanes
        with T.serial(0, self.read // lanes) as block:
            target = (i * self.line + p.padding[2] + block * lanes) * lanes
            mask = None if p.width % lanes == 0 else below(block * lanes, p.width, lanes)
            with T.If(tirx.And(source >= 0, source < p.height)):
                with T.Then():
                    # A channel that does not exist may be any other: its weights are not read.
                    channels = [tirx.min(group * lanes + c, p.in_channels - 1) for c in range(lanes)]
                    rows = [let("row", load(self.x, mask, lanes, image, c, source, block * lanes)) for c in channels]
                    for j, value in enumerate(transpose(rows, lanes)):
                        store(self.lines, value, ramp(target + j * lanes, lanes))
                with T.Else():
                    for j in range(lanes):
                        store(self.lines, splat(0.0, lanes), ramp(target + j * lanes, lanes))

    def _products(self, panel: Expr, position: Expr) -> None:
        """What one position of all tiles of the chunk contributes to one panel."""
        size = self.schedule.tiles
        full, rest = divmod(self.tiles, size)
        with T.serial(0, full) as tile:
            self._product(panel, position, tile, size)
        if rest:
            self._product(panel, position, full, rest)

    def _product(self, panel: Expr, position: Expr, tile: Expr, tiles: int) -> None:
        """A register tile: tiles times the channels of a panel."""
        first, share = tile * self.schedule.tiles, -(-self.panel // -(-self.tiles // self.schedule.tiles))
        s, channels = self.schedule, self.problem.in_channels
        acc = local("acc", tiles * self.panel)
        for i in range(0, tiles * self.panel, s.lanes):
            store(acc, splat(0.0, s.lanes), ramp(i, s.lanes))
        start = let("start", position * self.input_size + first * self.stride)
        line = let("line", (panel * self.positions + position) * channels)
        with T.serial(0, channels) as k:
            at = let("at", (line + k) * self.panel)
            prefetch_share(self.values, (line + channels) * self.panel, tile * channels + k, share)
            weights = [let("w", load(self.values, None, s.lanes, at + v * s.lanes)) for v in range(s.vectors)]
            for t in range(tiles):
                value = let("value", splat(self.inputs[start + t * self.stride + k], s.lanes))
                for v, weight in enumerate(weights):
                    i = ramp(t * self.panel + v * s.lanes, s.lanes)
                    store(acc, acc[i] + value * weight, i)
        target = let("target", position * self.product_size + first * self.panel)
        for i in range(0, tiles * self.panel, s.lanes):
            store(self.products, acc[ramp(i, s.lanes)], ramp(target + i, s.lanes))

    def _transform_outputs(self, image: Expr, down: Expr, row: Expr, panel: Expr, vector: Expr) -> None:
        """A^T M A of the tiles of one row of tiles, for one vector of channels of the panel."""
        p, lanes, size, outputs = self.problem, self.schedule.lanes, self.size, self.schedule.outputs
        with T.serial(0, self.across) as tile:
            with T.serial(0, size) as j:
                place = (row * self.across + tile) * self.panel + vector * lanes
                at, step = let("at", j * self.product_size + place), size * self.product_size
                column = [let("product", load(self.products, None, lanes, at + i * step)) for i in range(size)]
                for i, value in enumerate(from_points(self.matrices.outputs, column, lanes)):
                    store(self.half, value, ramp((i * size + j) * lanes, lanes))
            for i in range(outputs):
                line = [let("half", load(self.half, None, lanes, (i * size + j) * lanes)) for j in range(size)]
                for j, value in enumerate(from_points(self.matrices.outputs, line, lanes)):
                    at = (i * self.out_line + tile * outputs + j) * lanes
                    store(self.pixels, value, ramp(at, lanes))
        channel = let("channel", panel * self.panel + vector * lanes)
        left = None if p.out_channels % self.panel == 0 else p.out_channels - channel
        complete = tirx.min(outputs, p.out_height - down * outputs)
        with T.serial(0, complete) as i, T.serial(0, -(-p.out_width // lanes)) as block:
            # The last vector begins early rather than have lanes off.
            column = let("column", tirx.min(block * lanes, max(0, p.out_width - lanes)))
            first = (i * self.out_line + column) * lanes
            sums = [let("sums", load(self.pixels, None, lanes, first + j * lanes)) for j in range(lanes)]
            mask = None if p.out_width >= lanes else below(column, p.out_width, lanes)
            pixel = let("pixel", (down * outputs + i) * p.out_width + column)
            self.output.store(sums, (image, channel, pixel), mask, left)

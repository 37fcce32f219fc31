"""Winograd's algorithm with vectors of channels, as in ``channel_kernel``: see ``winograd``.

A tile is turned where it is read, so that a vector holds one pixel of several channels, and turned back where the
outputs are stored. Channels that fill no vector are computed for nothing.
"""

from collections.abc import Callable
from itertools import chain

import tvm.tirx.script.builder.ir as T
from tvm import tirx

from sparsecomp.kernels.emit import (
    Expr,
    below,
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
from sparsecomp.kernels.geometry import last_vectors
from sparsecomp.kernels.problem import ConvProblem
from sparsecomp.kernels.schedule import WinogradSchedule
from sparsecomp.kernels.winograd import Winograd
from sparsecomp.kernels.winograd_transforms import from_points, to_points


class WinogradChannels(Winograd):
    """The kernel."""

    def __init__(self, problem: ConvProblem, schedule: WinogradSchedule) -> None:
        super().__init__(problem, schedule)
        self.schedule = schedule
        p, lanes = problem, self.lanes
        # One vector more than the channels need: strides of a power of two would share cache sets.
        self.stride = (-(-p.in_channels // lanes) + 1) * lanes
        self.read = -(-p.width // lanes) * lanes  # pixels of a row of x, in whole vectors
        self.line = max(p.padding[2] + self.read, self.across * self.outputs + 2)
        self.input_size, self.product_size = spread(self.tiles * self.stride), spread(self.tiles * self.panel)
        self.out_line = -(-self.across * self.outputs // lanes) * lanes
        self.last_vectors = last_vectors(p.out_channels, schedule)
        self.units = -(-self.tiles // schedule.tiles)
        self.shared: tuple[Expr, Expr] = 0, self.units

    def allocate(self) -> None:
        """What lies outside of the image, left and right, stays zero in ``lines``."""
        lanes, size, outputs = self.lanes, self.size, self.outputs
        self.lines = scratch("lines", size * self.line * lanes)
        self.inputs = scratch("inputs", self.positions * self.input_size)
        self.products = scratch("products", self.positions * self.product_size)
        self.half = scratch("half", outputs * size * lanes)
        self.pixels = scratch("pixels", outputs * self.out_line * lanes)
        with T.serial(0, size * self.line) as i:
            store(self.lines, splat(0.0, lanes), ramp(i * lanes, lanes))

    def compute(self, first_row: Expr, first: Expr, last: Expr) -> None:
        """Some panels or, where tiles are divided, some tiles of all panels."""
        if not self.schedule.divided:
            super().compute(first_row, first, last)
            return
        begin, end = (let("unit", part * self.units // self.workers) for part in (first, last))
        self.shared = begin, end
        with T.If(end > begin), T.Then():
            self.transform_rows(first_row, *self._rows())
            self.multiply(first_row, 0, self.panels)

    def _rows(self) -> tuple[Expr, Expr]:
        """The rows of the chunk that have tiles which are to be computed."""
        if not self.schedule.divided:
            return 0, self.chunk
        begin, end = self._tiles()
        return begin // self.across, (end + self.across - 1) // self.across

    def _across(self, row: Expr) -> tuple[Expr, Expr]:
        """The tiles of a row of the chunk that are to be computed."""
        if not self.schedule.divided:
            return 0, self.across
        begin, end = self._tiles()
        start = row * self.across
        return let("tile", tirx.max(0, begin - start)), let("tile", tirx.min(end - start, self.across))

    def _tiles(self) -> tuple[Expr, Expr]:
        """The tiles of a divided chunk that are to be computed."""
        begin, end = self.shared
        return begin * self.schedule.tiles, tirx.min(end * self.schedule.tiles, self.tiles)

    def transform_inputs(self, image: Expr, down: Expr, row: Expr) -> None:
        """One vector of channels after the other."""
        with T.serial(0, self.stride // self.lanes - 1) as group:
            self._transform_group(image, down, row, group)

    def _transform_group(self, image: Expr, down: Expr, row: Expr, group: Expr) -> None:
        p, lanes, size = self.problem, self.lanes, self.size
        with T.serial(0, size) as i:
            self._read_line(image, group, let("source", down * self.outputs + i - p.padding[0]), i)
        with T.serial(0, p.width) as column:
            at = let("at", (column + p.padding[2]) * lanes)
            lines = [let("line", load(self.lines, None, lanes, i * self.line * lanes + at)) for i in range(size)]
            for i, value in enumerate(to_points(self.matrices.inputs, lines, lanes)):
                store(self.lines, value, ramp(i * self.line * lanes + at, lanes))
        with T.serial(0, self.across) as tile, T.serial(0, size) as i:
            at = let("at", (i * self.line + tile * self.outputs) * lanes)
            line = [let("pixel", load(self.lines, None, lanes, at + j * lanes)) for j in range(size)]
            for j, value in enumerate(to_points(self.matrices.inputs, line, lanes)):
                place = (row * self.across + tile) * self.stride + group * lanes
                index = (i * size + j) * self.input_size + place
                store(self.inputs, value, ramp(index, lanes))

    def _read_line(self, image: Expr, group: Expr, source: Expr, i: Expr) -> None:
        """One row of the image, turned so that vectors hold channels; a row outside is zero."""
        p, lanes = self.problem, self.lanes
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

    def multiply(self, first_row: Expr, begin: Expr, end: Expr) -> None:
        """One panel after the other, so that its sums stay in the caches."""
        with T.serial(begin, end) as panel:
            vectors = self._at_width(panel, lambda width: self._panel(panel, width))
            with T.serial(*self._rows()) as row, T.serial(0, vectors) as vector:
                at = let("at", first_row + row)
                exists = None if self.chunk == 1 else at < self.rows
                guard(exists, lambda: self._transform_outputs(at // self.down, at % self.down, row, panel, vector))

    def _at_width(self, panel: Expr, emit: Callable[[int], None]) -> Expr:
        """Emit what is done for a panel of so many vectors: the last one may have fewer. How many there are."""
        vectors, last = self.schedule.vectors, self.last_vectors
        if last == vectors:
            emit(vectors)
            return vectors
        with T.If(panel < self.panels - 1):
            with T.Then():
                emit(vectors)
            with T.Else():
                emit(last)
        return tirx.Select(panel < self.panels - 1, vectors, last)

    def _panel(self, panel: Expr, vectors: int) -> None:
        """The products of all positions of all tiles of the chunk for one panel."""
        size = self.schedule.tiles
        full, rest = divmod(self.tiles, size)
        (begin, end), divided = self.shared, self.schedule.divided
        with T.serial(0, self.positions) as position:
            with T.serial(begin, tirx.min(end, full) if divided else full) as tile:
                self._product(panel, position, tile, (size, vectors))
            if rest:
                exists = end > full if divided else None
                guard(exists, lambda: self._product(panel, position, full, (rest, vectors)))

    def _product(self, panel: Expr, position: Expr, tile: Expr, size: tuple[int, int]) -> None:
        """A register tile: so many tiles times so many vectors of channels of a panel."""
        first, passed = tile * self.schedule.tiles, tile - self.shared[0]
        share = -(-self.panel // max(1, self.units // (self.workers if self.schedule.divided else 1)))
        s, channels = self.schedule, self.problem.in_channels
        tiles, vectors = size
        acc = local("acc", tiles * vectors * s.lanes)
        places = [[ramp((t * vectors + v) * s.lanes, s.lanes) for v in range(vectors)] for t in range(tiles)]
        for place in chain(*places):
            store(acc, splat(0.0, s.lanes), place)
        start = let("start", position * self.input_size + first * self.stride)
        line = let("line", (panel * self.positions + position) * channels)
        with T.serial(0, channels) as k:
            at = let("at", (line + k) * self.panel)
            prefetch_share(self.values, (line + channels) * self.panel, passed * channels + k, share)
            weights = [let("w", load(self.values, None, s.lanes, at + v * s.lanes)) for v in range(vectors)]
            for t in range(tiles):
                value = let("value", splat(self.inputs[start + t * self.stride + k], s.lanes))
                for place, weight in zip(places[t], weights, strict=True):
                    store(acc, acc[place] + value * weight, place)
        target = let("target", position * self.product_size + first * self.panel)
        for t in range(tiles):
            for v, place in enumerate(places[t]):
                store(self.products, acc[place], ramp(target + t * self.panel + v * s.lanes, s.lanes))

    def _transform_outputs(self, image: Expr, down: Expr, row: Expr, panel: Expr, vector: Expr) -> None:
        """A^T M A of the tiles of one row of tiles, for one vector of channels of the panel."""
        p, lanes, size, outputs = self.problem, self.lanes, self.size, self.outputs
        begin, end = self._across(row)
        with T.serial(begin, end) as tile:
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
        start, stop, latest = 0, p.out_width, max(0, p.out_width - lanes)
        if self.schedule.divided:
            start, stop = begin * outputs, let("stop", tirx.min(end * outputs, p.out_width))
            latest = stop - lanes
        with T.serial(0, complete) as i, T.serial(0, (stop - start + lanes - 1) // lanes) as block:
            # The last vector begins early rather than have lanes off.
            column = let("column", tirx.min(start + block * lanes, latest))
            first = (i * self.out_line + column) * lanes
            sums = [let("sums", load(self.pixels, None, lanes, first + j * lanes)) for j in range(lanes)]
            mask = None if p.out_width >= lanes else below(column, p.out_width, lanes)
            pixel = let("pixel", (down * outputs + i) * p.out_width + column)
            self.output.store(sums, (image, channel, pixel), mask, left)

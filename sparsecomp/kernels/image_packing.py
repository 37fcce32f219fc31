"""Packing tiles of an image into the planes of ``geometry``: all that strides, padding and image borders cost."""

import math
from dataclasses import dataclass, replace

import tvm.tirx.script.builder.ir as T
from tvm import tirx

from sparsecomp.kernels.emit import CACHE_FLOATS, Buffer, Expr, below, each, inside, let, load, ramp, shuffle, store
from sparsecomp.kernels.geometry import Geometry, copies_lines, geometry
from sparsecomp.kernels.problem import ConvProblem
from sparsecomp.kernels.schedule import ColumnSchedule

TOGETHER = 64  # channels that are packed at once
UNROLLED = 8  # columns of taps that are packed at once
L1_SETS = 64


@dataclass(frozen=True)
class Tile:
    """What packing copies, and where to.

    Attributes:
        x: the input, ``[batch, channels, height, width]``.
        packed: the planes.
        image: which image.
        channel: the first input channel.
        channels: how many channels.
        column: the first column of the tile.
        target: where in the planes the first channel begins.
    """

    x: Buffer
    packed: Buffer
    image: Expr
    channel: Expr
    channels: Expr
    column: Expr
    target: Expr = 0


def pack(tile: Tile, problem: ConvProblem, schedule: ColumnSchedule) -> None:
    """Fill the planes of these channels, of which there are no more than a depth block has."""
    g = geometry(problem, schedule)
    packing = _Shifted if copies_lines(problem, g) else _Rows
    most = _channels_at_once(problem)
    if schedule.depth <= most:
        packing(tile, problem, schedule, g).pack()
        return
    with T.serial(0, (tile.channels + most - 1) // most) as i:
        first = let("first", i * most)
        channels = let("some", tirx.min(most, tile.channels - first))
        some = replace(tile, channel=tile.channel + first, channels=channels, target=first * g.channel)
        packing(some, problem, schedule, g).pack()


def _channels_at_once(problem: ConvProblem) -> int:
    """Of so many channels some cache lines stay in the L1 cache, and a page each in the first table of pages."""
    lines, rest = divmod(problem.height * problem.width, CACHE_FLOATS)
    return TOGETHER if rest else max(4, min(TOGETHER, L1_SETS // math.gcd(L1_SETS, lines) * 4))


@dataclass(frozen=True)
class _Packing:
    tile: Tile
    problem: ConvProblem
    schedule: ColumnSchedule
    geometry: Geometry

    @property
    def lanes(self) -> int:
        return self.schedule.lanes

    def at(self, channel: Expr, start: Expr) -> Expr:
        """Where a vector is that begins so far within the planes of a channel."""
        return ramp(self.tile.target + channel * self.geometry.channel + start, self.lanes)

    def store(self, value: Expr, channel: Expr, start: Expr) -> None:
        """Put a vector into the planes of a channel."""
        store(self.tile.packed, value, self.at(channel, start))

    def filled(self) -> Expr:
        """How much of each plane is needed: the last tile has vectors of columns that do not exist."""
        g, s = self.geometry, self.schedule
        span = s.span * s.vectors * s.lanes
        if -(-g.columns // s.lanes) * s.lanes % span == 0:
            return g.plane
        left = (g.columns - self.tile.column + s.lanes - 1) // s.lanes * s.lanes
        return let("filled", g.plane - tirx.max(span - left, 0))


class _Shifted(_Packing):
    """Output and input have the same pitch: a plane is the image from some pixel on, but for the borders."""

    def pack(self) -> None:
        """One plane that lies within the image is a copy; else the borders are a mask, the same for all channels."""
        g, tile = self.geometry, self.tile
        if len(g.row_shifts) * len(g.column_shifts) > 1:
            self._planes()
            return
        source = let("source", tile.column + (g.row_shifts[0] * self.problem.width + g.column_shifts[0]))
        filled = self.filled()
        with T.If(tirx.And(source >= 0, source + filled <= self.problem.height * self.problem.width)):
            with T.Then():
                self._copy(source, filled)
            with T.Else():
                self._planes()

    def _copy(self, source: Expr, filled: Expr) -> None:
        """Channel by channel, as each is on memory pages of its own."""
        tile, lanes = self.tile, self.lanes
        with T.serial(0, tile.channels) as c, T.serial(0, filled // lanes) as v:
            value = load(tile.x, None, lanes, tile.image, tile.channel + c, 0, source + v * lanes)
            self.store(value, c, v * lanes)

    def _planes(self) -> None:
        g, planes = self.geometry, len(self.geometry.column_shifts)
        each(
            g.row_shifts,
            lambda i, dr: each(g.column_shifts, lambda k, dc: self._plane((i * planes + k) * g.plane, dr, dc)),
        )

    def _plane(self, target: Expr, dr: Expr, dc: Expr) -> None:
        p, g, tile, lanes = self.problem, self.geometry, self.tile, self.lanes
        pixels = p.height * p.width
        with T.serial(0, self.filled() // lanes) as v:
            first = let("first", tile.column + v * lanes)
            source = let("source", first + dr * p.width + dc)
            mask = inside(source, pixels, lanes)
            if len(g.column_shifts) > 1:
                column = let(
                    "column", tirx.floormod(ramp(first, lanes), tirx.Broadcast(tirx.const(p.width, "int32"), lanes))
                )
                shifted = column + tirx.Broadcast(dc, lanes)
                low, high = tirx.Broadcast(tirx.const(0, "int32"), lanes), tirx.Broadcast(p.width, lanes)
                mask = tirx.And(mask, tirx.And(shifted >= low, shifted < high))
            with T.serial(0, tile.channels) as c:
                value = load(tile.x, mask, lanes, tile.image, tile.channel + c, 0, source)
                self.store(value, c, target + v * lanes)


@dataclass(frozen=True)
class _Source:
    """Columns of x, and what is made of them.

    Attributes:
        shift: where they begin for output column 0.
        planes: for each plane, its number, and which of the columns that one step of the stride takes.
    """

    shift: Expr
    planes: tuple[tuple[Expr, int], ...]


class _Rows(_Packing):
    """The general case: row by row, and each vector of a row in all channels, which share its masks."""

    def pack(self) -> None:
        """The planes of all columns of taps together, as they read the same; of very many one after another."""
        g, planes = self.geometry, len(self.geometry.column_shifts)

        def taps(i: Expr, dr: Expr) -> None:
            if self.problem.stride[1] > 2 or planes > UNROLLED:
                each(g.column_shifts, lambda k, dc: self._planes([_Source(dc, ((i * planes + k, 0),))], dr))
            else:
                self._planes(self._sources(i * planes), dr)

        each(g.row_shifts, taps)

    def _sources(self, first: Expr) -> list[_Source]:
        """What to read for one row of planes: the phases of the stride are parts of the same columns."""
        shifts, stride = self.geometry.column_shifts, self.problem.stride[1]
        found: dict[int, list[tuple[Expr, int]]] = {}
        for k, dc in enumerate(shifts):
            found.setdefault(dc // stride * stride, []).append((first + k, dc % stride))
        return [_Source(shift, tuple(planes)) for shift, planes in found.items()]

    def _planes(self, sources: list[_Source], shift: Expr) -> None:
        """Copy what falls into the tile of shifted, strided channels, with zeros outside the image."""
        g, p, filled = self.geometry, self.problem, self.filled()
        start = let("start", self.tile.column + g.first)
        top = let("top", tirx.floordiv(start, g.pitch))
        column = let("column", start - top * g.pitch)
        with T.serial(0, (column + filled + g.pitch - 1) // g.pitch) as i:
            skip = let("skip", tirx.if_then_else(i == 0, column, 0))
            at = let("at", i * g.pitch - column + skip)
            count = let("count", tirx.min(g.pitch - skip, filled - at))
            row = let("source_row", (top + i) * p.stride[0] + shift)
            limit = let("limit", tirx.if_then_else(tirx.And(row >= 0, row < p.height), p.width, 0))
            copy = self._copy_row if p.stride[1] <= 2 else self._copy_strided_row
            copy(sources, at, (row, skip * p.stride[1]), limit, count)

    def _copy_row(
        self, sources: list[_Source], start: Expr, source: tuple[Expr, Expr], limit: Expr, count: Expr
    ) -> None:
        """Copy by whole vectors: what is written beyond the end of a row is overwritten by the next.

        Beyond the end of a plane are others, which are there already: the last vector begins early instead.
        """
        g, lanes, (row, first) = self.geometry, self.lanes, source
        with T.serial(0, (count + lanes - 1) // lanes) as chunk:
            at = let("vector", start + chunk * lanes)
            column = let("c", first + chunk * (lanes * self.problem.stride[1]))
            if g.pitch % lanes == 0 and g.first % lanes == 0:
                self._copy_vector(sources, at, (row, column), limit)
                return
            with T.If(at + lanes <= g.plane):
                with T.Then():
                    self._copy_vector(sources, at, (row, column), limit)
                with T.Else():
                    early = let("early", at + lanes - g.plane)
                    left = column - early * self.problem.stride[1]
                    self._copy_vector(sources, g.plane - lanes, (row, left), limit, kept=early)

    def _copy_vector(
        self, sources: list[_Source], start: Expr, place: tuple[Expr, Expr], limit: Expr, kept: Expr | None = None
    ) -> None:
        """One vector of a row in all channels; so many of its first values stay what they are."""
        g, tile, lanes, (row, column) = self.geometry, self.tile, self.lanes, place
        inside_left = kept is None and g.first == 0 and min(g.column_shifts) >= 0
        starts = [
            [let("from", column + (source.shift + i * lanes)) for i in range(self.problem.stride[1])]
            for source in sources
        ]
        mask = below if inside_left else inside
        masks = [[mask(at, limit, lanes) for at in group] for group in starts]  # computed once, outside of the loop
        with T.serial(0, tile.channels) as c:
            for source, columns, valid in zip(sources, starts, masks, strict=True):
                parts = [
                    load(tile.x, m, lanes, tile.image, tile.channel + c, row, at)
                    for m, at in zip(valid, columns, strict=True)
                ]
                for plane, phase in source.planes:
                    value = parts[0] if len(parts) == 1 else shuffle(parts, list(range(phase, 2 * lanes, 2)))
                    first = plane * g.plane + start
                    if kept is not None:
                        value = tirx.Select(below(0, kept, lanes), self._packed(c, first, kept), value)
                    self.store(value, c, first)

    def _packed(self, channel: Expr, start: Expr, count: Expr) -> Expr:
        """The first values of a vector that is there already; of a plain load LLVM would make a masked, slow store."""
        mask = below(0, count, self.lanes)
        return let("kept", T.masked_load(f"float32x{self.lanes}", self.tile.packed, self.at(channel, start), mask))

    def _copy_strided_row(
        self, sources: list[_Source], start: Expr, source: tuple[Expr, Expr], limit: Expr, count: Expr
    ) -> None:
        """Zeros, the columns inside the image, zeros: loops without conditions."""
        tile, stride, (row, column) = self.tile, self.problem.stride[1], source
        (only,) = sources
        first = let("first", column + only.shift)
        begin = let("begin", tirx.min(tirx.max((stride - 1 - first) // stride, 0), count))
        end = let("end", tirx.max(tirx.min((limit - first + stride - 1) // stride, count), begin))
        with T.serial(0, tile.channels) as c:
            plane = self.tile.target + c * self.geometry.channel + only.planes[0][0] * self.geometry.plane
            at = let("start", plane + start)
            with T.serial(0, begin) as j:
                store(self.tile.packed, tirx.const(0.0, "float32"), at + j)
            with T.serial(begin, end) as j:
                store(self.tile.packed, tile.x[tile.image, tile.channel + c, row, first + j * stride], at + j)
            with T.serial(end, count) as j:
                store(self.tile.packed, tirx.const(0.0, "float32"), at + j)

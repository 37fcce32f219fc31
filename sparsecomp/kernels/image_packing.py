"""Packing tiles of an image into the planes of ``geometry``: all that strides, padding and image borders cost."""

from dataclasses import dataclass

import tvm.tirx.script.builder.ir as T
from tvm import tirx

from sparsecomp.kernels.emit import Buffer, Expr, below, each, inside, let, load, ramp, shuffle, store
from sparsecomp.kernels.geometry import Geometry, copies_lines
from sparsecomp.kernels.problem import ConvProblem


@dataclass(frozen=True)
class Tile:
    """Where packing finds what it copies.

    Attributes:
        x: the input, ``[batch, channels, height, width]``.
        image: which image.
        channel: the first input channel.
        channels: how many channels.
        column: the first column of the tile.
    """

    x: Buffer
    image: Expr
    channel: Expr
    channels: Expr
    column: Expr


def pack(packed: Buffer, tile: Tile, problem: ConvProblem, geometry: Geometry, lanes: int) -> None:
    """Fill the planes of these channels."""
    if copies_lines(problem, geometry):
        _Shifted(packed, tile, problem, geometry, lanes).pack()
    else:
        _Rows(packed, tile, problem, geometry, lanes).pack()


@dataclass(frozen=True)
class _Packing:
    packed: Buffer
    tile: Tile
    problem: ConvProblem
    geometry: Geometry
    lanes: int


class _Shifted(_Packing):
    """Output and input have the same pitch: a plane is the image from some pixel on, but for the borders."""

    def pack(self) -> None:
        """One plane that lies within the image is a copy; else the borders are a mask, the same for all channels."""
        g, tile = self.geometry, self.tile
        if len(g.row_shifts) * len(g.column_shifts) > 1:
            self._planes()
            return
        source = let("source", tile.column + (g.row_shifts[0] * self.problem.width + g.column_shifts[0]))
        with T.If(tirx.And(source >= 0, source + g.plane <= self.problem.height * self.problem.width)):
            with T.Then():
                self._copy(source)
            with T.Else():
                self._planes()

    def _copy(self, source: Expr) -> None:
        """Channel by channel, as each is on memory pages of its own."""
        g, tile, lanes = self.geometry, self.tile, self.lanes
        with T.serial(0, tile.channels) as c, T.serial(0, g.plane // lanes) as v:
            value = load(tile.x, None, lanes, tile.image, tile.channel + c, 0, source + v * lanes)
            store(self.packed, value, ramp(c * g.channel + v * lanes, lanes))

    def _planes(self) -> None:
        g, planes = self.geometry, len(self.geometry.column_shifts)
        each(
            g.row_shifts,
            lambda i, dr: each(g.column_shifts, lambda k, dc: self._plane((i * planes + k) * g.plane, dr, dc)),
        )

    def _plane(self, target: Expr, dr: Expr, dc: Expr) -> None:
        p, g, tile, lanes = self.problem, self.geometry, self.tile, self.lanes
        pixels = p.height * p.width
        with T.serial(0, g.plane // lanes) as v:
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
                store(self.packed, value, ramp(c * g.channel + target + v * lanes, lanes))


class _Rows(_Packing):
    """The general case: each plane row by row."""

    def pack(self) -> None:
        """All planes of one channel after another."""
        g, planes = self.geometry, len(self.geometry.column_shifts)
        start = let("start", self.tile.column + g.first)
        row = let("row", tirx.floordiv(start, g.pitch))
        skip = let("column", start - row * g.pitch)
        with T.serial(0, self.tile.channels) as c:

            def plane(i: Expr, dr: Expr, k: Expr, dc: Expr) -> None:
                self._plane(((c * len(g.row_shifts) + i) * planes + k) * g.plane, (c, dr, dc), row, skip)

            each(g.row_shifts, lambda i, dr: each(g.column_shifts, lambda k, dc: plane(i, dr, k, dc)))

    def _plane(self, target: Expr, shift: tuple[Expr, Expr, Expr], row: Expr, column: Expr) -> None:
        """Copy what falls into the tile of a shifted, strided channel, with zeros outside the image."""
        g, p = self.geometry, self.problem
        channel, dr, dc = shift
        with T.serial(0, (column + g.plane + g.pitch - 1) // g.pitch) as i:
            skip = let("skip", tirx.if_then_else(i == 0, column, 0))
            at = let("at", i * g.pitch - column + skip)
            count = let("count", tirx.min(g.pitch - skip, g.plane - at))
            source = let("source_row", (row + i) * p.stride[0] + dr)
            valid = tirx.And(source >= 0, source < p.height)
            limit = let("limit", tirx.if_then_else(valid, p.width, 0))
            copies = {1: self._copy_row, 2: self._copy_row_of_pairs}
            copy = copies.get(p.stride[1], self._copy_strided_row)
            copy(target + at, (channel, source, skip * p.stride[1] + dc), limit, count)

    def _copy_row(self, target: Expr, source: tuple[Expr, Expr, Expr], limit: Expr, count: Expr) -> None:
        """Copy by whole vectors: what is written beyond the end is overwritten by the next row or plane."""
        lanes, tile = self.lanes, self.tile
        channel, row, first = source
        mask = below if self.geometry.first == 0 and min(self.geometry.column_shifts) >= 0 else inside
        with T.serial(0, (count + lanes - 1) // lanes) as chunk:
            c = let("c", first + chunk * lanes)
            value = load(tile.x, mask(c, limit, lanes), lanes, tile.image, tile.channel + channel, row, c)
            store(self.packed, value, ramp(target + chunk * lanes, lanes))

    def _copy_row_of_pairs(self, target: Expr, source: tuple[Expr, Expr, Expr], limit: Expr, count: Expr) -> None:
        """Every other column: the even lanes of two vectors."""
        lanes, tile = self.lanes, self.tile
        channel, row, first = source
        with T.serial(0, (count + lanes - 1) // lanes) as chunk:
            c = let("c", first + chunk * (2 * lanes))
            pair = [
                load(tile.x, inside(at, limit, lanes), lanes, tile.image, tile.channel + channel, row, at)
                for at in (c, c + lanes)
            ]
            even = shuffle(pair, list(range(0, 2 * lanes, 2)))
            store(self.packed, even, ramp(target + chunk * lanes, lanes))

    def _copy_strided_row(self, target: Expr, source: tuple[Expr, Expr, Expr], limit: Expr, count: Expr) -> None:
        """Zeros, the columns inside the image, zeros: loops without conditions."""
        tile, stride = self.tile, self.problem.stride[1]
        channel, row, first = source
        begin = let("begin", tirx.min(tirx.max((stride - 1 - first) // stride, 0), count))
        end = let("end", tirx.max(tirx.min((limit - first + stride - 1) // stride, count), begin))
        with T.serial(0, begin) as j:
            store(self.packed, tirx.const(0.0, "float32"), target + j)
        with T.serial(begin, end) as j:
            store(self.packed, tile.x[tile.image, tile.channel + channel, row, first + j * stride], target + j)
        with T.serial(end, count) as j:
            store(self.packed, tirx.const(0.0, "float32"), target + j)

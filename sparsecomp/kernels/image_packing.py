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
    """The general case: each plane row by row, and each vector of a row in all channels, which share its masks."""

    def pack(self) -> None:
        """One plane of all channels after another."""
        g, planes = self.geometry, len(self.geometry.column_shifts)
        start = let("start", self.tile.column + g.first)
        row = let("row", tirx.floordiv(start, g.pitch))
        skip = let("column", start - row * g.pitch)

        def plane(i: Expr, dr: Expr, k: Expr, dc: Expr) -> None:
            self._plane((i * planes + k) * g.plane, (dr, dc), row, skip)

        each(g.row_shifts, lambda i, dr: each(g.column_shifts, lambda k, dc: plane(i, dr, k, dc)))

    def _plane(self, target: Expr, shift: tuple[Expr, Expr], row: Expr, column: Expr) -> None:
        """Copy what falls into the tile of shifted, strided channels, with zeros outside the image."""
        g, p = self.geometry, self.problem
        dr, dc = shift
        with T.serial(0, (column + g.plane + g.pitch - 1) // g.pitch) as i:
            skip = let("skip", tirx.if_then_else(i == 0, column, 0))
            at = let("at", i * g.pitch - column + skip)
            count = let("count", tirx.min(g.pitch - skip, g.plane - at))
            source = let("source_row", (row + i) * p.stride[0] + dr)
            valid = tirx.And(source >= 0, source < p.height)
            limit = let("limit", tirx.if_then_else(valid, p.width, 0))
            copy = self._copy_row if p.stride[1] <= 2 else self._copy_strided_row
            copy((target, at), (source, skip * p.stride[1] + dc), limit, count)

    def _copy_row(self, target: tuple[Expr, Expr], source: tuple[Expr, Expr], limit: Expr, count: Expr) -> None:
        """Copy by whole vectors: what is written beyond the end is overwritten by the next row or plane.

        Beyond the last plane is the next channel, which is there already: the last vector begins early instead.
        """
        g, lanes, (plane, start) = self.geometry, self.lanes, target
        row, first = source
        inside_left = g.first == 0 and min(g.column_shifts) >= 0
        with T.serial(0, (count + lanes - 1) // lanes) as chunk:
            at = let("vector", start + chunk * lanes)
            column = let("c", first + chunk * (lanes * self.problem.stride[1]))
            if g.pitch % lanes == 0 and g.first % lanes == 0:
                self._copy_vector(plane + at, (row, column), limit, inside_left)
                return
            with T.If(at + lanes <= g.plane):
                with T.Then():
                    self._copy_vector(plane + at, (row, column), limit, inside_left)
                with T.Else():
                    early = let("early", at + lanes - g.plane)
                    left = column - early * self.problem.stride[1]
                    self._copy_vector(plane + g.plane - lanes, (row, left), limit, False, kept=early)

    def _copy_vector(
        self, target: Expr, source: tuple[Expr, Expr], limit: Expr, inside_left: bool, kept: Expr | None = None
    ) -> None:
        """One vector of a row in all channels; so many of its first values stay what they are."""
        lanes, tile, (row, column) = self.lanes, self.tile, source
        mask = below if inside_left else inside
        starts = [let("from", column + i * lanes) for i in range(self.problem.stride[1])]
        masks = [mask(start, limit, lanes) for start in starts]  # computed once, outside of the loop
        with T.serial(0, tile.channels) as c:
            at = ramp(c * self.geometry.channel + target, lanes)
            parts = [
                load(tile.x, m, lanes, tile.image, tile.channel + c, row, start)
                for m, start in zip(masks, starts, strict=True)
            ]
            value = parts[0] if len(parts) == 1 else shuffle(parts, list(range(0, 2 * lanes, 2)))
            if kept is not None:
                value = tirx.Select(below(0, kept, lanes), self.packed[at], value)
            store(self.packed, value, at)

    def _copy_strided_row(self, target: tuple[Expr, Expr], source: tuple[Expr, Expr], limit: Expr, count: Expr) -> None:
        """Zeros, the columns inside the image, zeros: loops without conditions."""
        tile, stride = self.tile, self.problem.stride[1]
        row, first = source
        begin = let("begin", tirx.min(tirx.max((stride - 1 - first) // stride, 0), count))
        end = let("end", tirx.max(tirx.min((limit - first + stride - 1) // stride, count), begin))
        with T.serial(0, tile.channels) as c:
            start = let("start", c * self.geometry.channel + target[0] + target[1])
            with T.serial(0, begin) as j:
                store(self.packed, tirx.const(0.0, "float32"), start + j)
            with T.serial(begin, end) as j:
                store(self.packed, tile.x[tile.image, tile.channel + c, row, first + j * stride], start + j)
            with T.serial(end, count) as j:
                store(self.packed, tirx.const(0.0, "float32"), start + j)

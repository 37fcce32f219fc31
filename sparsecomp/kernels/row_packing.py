"""Packing an image row by row: the general case, for strides and for rows of planes that are not those of the image."""

from dataclasses import dataclass

import tvm.tirx.script.builder.ir as T
from tvm import tirx

from sparsecomp.kernels.emit import Expr, below, each, inside, let, load, shuffle, store
from sparsecomp.kernels.image_tile import Packing

UNROLLED = 8  # columns of taps that are packed at once


@dataclass(frozen=True)
class _Source:
    """Columns of x, and what is made of them.

    Attributes:
        shift: where they begin for output column 0.
        planes: for each plane, its number, and which of the columns that one step of the stride takes.
    """

    shift: Expr
    planes: tuple[tuple[Expr, int], ...]


class Rows(Packing):
    """Row by row, and each vector of a row in all channels, which share its masks."""

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
        g, p, lanes, (row, column) = self.geometry, self.problem, self.lanes, place
        starts = [[let("from", column + (source.shift + i * lanes)) for i in range(p.stride[1])] for source in sources]
        mask = below if kept is None and g.first == 0 and min(g.column_shifts) >= 0 else inside

        def copy(masked: bool) -> None:
            masks = [[mask(at, limit, lanes) if masked else None for at in group] for group in starts]
            with T.serial(0, self.tile.channels) as c:
                for source, columns, valid in zip(sources, starts, masks, strict=True):
                    self._copy_source(source, c, row, (columns, valid), start, kept)

        if kept is not None:
            copy(masked=True)
            return
        with T.If(tirx.And(starts[0][0] >= 0, starts[-1][-1] + lanes <= limit)):  # as most are
            with T.Then():
                copy(masked=False)
            with T.Else():
                copy(masked=True)

    def _copy_source(
        self,
        source: _Source,
        c: Expr,
        row: Expr,
        columns: tuple[list[Expr], list[Expr | None]],
        start: Expr,
        kept: Expr | None,
    ) -> None:
        """Of one channel, what begins at these columns, with their masks."""
        g, tile, lanes = self.geometry, self.tile, self.lanes
        parts = [load(tile.x, m, lanes, tile.image, tile.channel + c, row, at) for at, m in zip(*columns, strict=True)]
        for plane, phase in source.planes:
            value = parts[0] if len(parts) == 1 else shuffle(parts, list(range(phase, 2 * lanes, 2)))
            first = plane * g.plane + start
            if kept is not None:  # of a plain load LLVM would make a masked, slow store
                there = below(0, kept, lanes)
                value = tirx.Select(there, load(tile.packed, there, lanes, self.first(c, first)), value)
            self.store(value, c, first)

    def _copy_strided_row(
        self, sources: list[_Source], start: Expr, source: tuple[Expr, Expr], limit: Expr, count: Expr
    ) -> None:
        """Zeros, the columns inside the image, zeros: loops without conditions."""
        tile, stride, (row, column) = self.tile, self.problem.stride[1], source
        (only,) = sources
        first = let("first", column + only.shift)
        begin = let("begin", tirx.min(tirx.max(stride - 1 - first, 0) // stride, count))
        end = let("end", tirx.max(tirx.min(tirx.max(limit - first + stride - 1, 0) // stride, count), begin))
        with T.serial(0, tile.channels) as c:
            at = let("start", self.first(c, only.planes[0][0] * self.geometry.plane + start))
            with T.serial(0, begin) as j:
                store(self.tile.packed, tirx.const(0.0, "float32"), at + j)
            with T.serial(begin, end) as j:
                store(self.tile.packed, tile.x[tile.image, tile.channel + c, row, first + j * stride], at + j)
            with T.serial(end, count) as j:
                store(self.tile.packed, tirx.const(0.0, "float32"), at + j)

"""Packing tiles of an image into the planes of ``geometry``: all that strides, padding and image borders cost."""

import math
from dataclasses import replace

import tvm.tirx.script.builder.ir as T
from tvm import tirx

from sparsecomp.kernels.emit import CACHE_FLOATS, Expr, each, inside, let, load, ramp
from sparsecomp.kernels.geometry import Geometry, copies_lines
from sparsecomp.kernels.image_tile import Packing, Tile
from sparsecomp.kernels.problem import ConvProblem
from sparsecomp.kernels.row_packing import Rows
from sparsecomp.kernels.schedule import ColumnSchedule

TOGETHER = 64  # channels that are packed at once
L1_SETS = 64


def pack(tile: Tile, problem: ConvProblem, schedule: ColumnSchedule, geometry: Geometry) -> None:
    """Fill the planes of these channels, of which there are no more than a depth block has."""
    packing = _Shifted if copies_lines(problem, geometry) else Rows
    most = _channels_at_once(problem)
    if schedule.depth <= most:
        packing(tile, problem, schedule, geometry).pack()
        return
    with T.serial(0, (tile.channels + most - 1) // most) as i:
        first = let("first", i * most)
        channels = let("some", tirx.min(most, tile.channels - first))
        some = replace(tile, channel=tile.channel + first, channels=channels, target=first * geometry.channel)
        packing(some, problem, schedule, geometry).pack()


def _channels_at_once(problem: ConvProblem) -> int:
    """Of so many channels some cache lines stay in the L1 cache, and a page each in the first table of pages."""
    lines, rest = divmod(problem.height * problem.width, CACHE_FLOATS)
    return TOGETHER if rest else max(4, min(TOGETHER, L1_SETS // math.gcd(L1_SETS, lines) * 4))


class _Shifted(Packing):
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

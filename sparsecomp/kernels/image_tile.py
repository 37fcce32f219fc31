"""A tile of an image, and the planes that it is packed into."""

from dataclasses import dataclass

from tvm import tirx

from sparsecomp.kernels.emit import Buffer, Expr, let, ramp, store
from sparsecomp.kernels.geometry import Geometry
from sparsecomp.kernels.problem import ConvProblem
from sparsecomp.kernels.schedule import ColumnSchedule


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


@dataclass(frozen=True)
class Packing:
    """What all ways of packing share."""

    tile: Tile
    problem: ConvProblem
    schedule: ColumnSchedule
    geometry: Geometry

    @property
    def lanes(self) -> int:
        """Float32 values of a vector."""
        return self.schedule.lanes

    def first(self, channel: Expr, start: Expr) -> Expr:
        """Where the value is that is so far within the planes of a channel."""
        return self.tile.target + channel * self.geometry.channel + start

    def store(self, value: Expr, channel: Expr, start: Expr) -> None:
        """Put a vector into the planes of a channel."""
        store(self.tile.packed, value, ramp(self.first(channel, start), self.lanes))

    def filled(self) -> Expr:
        """How much of each plane is needed: the last tile has vectors of columns that do not exist."""
        g, s = self.geometry, self.schedule
        span = s.span * s.vectors * s.lanes
        if -(-g.columns // s.lanes) * s.lanes % span == 0:
            return g.plane
        left = (g.columns - self.tile.column + s.lanes - 1) // s.lanes * s.lanes
        return let("filled", g.plane - tirx.max(span - left, 0))

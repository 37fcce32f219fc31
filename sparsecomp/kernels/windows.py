"""What depthwise convolution and pooling share: a plane with its border, and output rows computed from registers."""

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx
from tvm.tirx import Buffer

from sparsecomp.schedules.loops import (
    Dim,
    index,
    load,
    local,
    loop,
    scratch,
    sequence,
    store,
    unrolled,
    vector,
    with_buffers,
)
from sparsecomp.schedules.rewrite import Expr, Stmt
from sparsecomp.targets.base import Target

Combine = Callable[[Expr, Expr, int, int], Expr]
Put = Callable[[Expr, Expr], Stmt]


@dataclass(frozen=True)
class Window:
    """A window that moves over planes [batch, channels, height, width].

    Attributes:
        size, stride, padding: of the two axes.
    """

    batch: Dim
    channels: int
    height: int
    width: int
    size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)

    @property
    def out_height(self) -> int:
        """Rows of the result."""
        return (self.height + 2 * self.padding[0] - self.size[0]) // self.stride[0] + 1

    @property
    def out_width(self) -> int:
        """Columns of the result."""
        return (self.width + 2 * self.padding[1] - self.size[1]) // self.stride[1] + 1


@dataclass(frozen=True)
class _Planes:
    """The geometry of one padded plane: one row for each phase of the stride, so that all reads are contiguous."""

    window: Window
    lanes: int

    @property
    def vectors(self) -> int:
        return -(-self.window.out_width // self.lanes)

    @property
    def row(self) -> int:
        """Values of one phase of one row, whole vectors wherever a window starts."""
        return self.vectors * self.lanes + self.window.size[1] // self.window.stride[1] + 1

    @property
    def rows(self) -> int:
        return (self.window.out_height - 1) * self.window.stride[0] + self.window.size[0]


def _fill(planes: _Planes, plane: Buffer, x: Buffer, batch: Expr, channel: Expr, border: float) -> Stmt:
    """plane[y, phase, i] = x[y - padding, i * stride + phase - padding], and ``border`` outside."""
    window, step = planes.window, planes.window.stride[1]

    def line(y: Expr) -> Stmt:
        source = y - index(window.padding[0])
        inside = tirx.all(source >= index(0), source < index(window.height))

        def phase(p: int) -> Stmt:
            def one(i: Expr) -> Stmt:
                column = i * index(step) + index(p - window.padding[1])
                valid = tirx.all(inside, column >= index(0), column < index(window.width))
                value = tirx.if_then_else(
                    valid, load(x, [batch, channel, source, column]), tirx.const(border, "float32")
                )
                return store(plane, [y, p, i], value)

            return loop(planes.row, one, name="column")

        return unrolled(step, phase)

    return loop(planes.rows, line, name="line")


def _line(
    planes: _Planes, plane: Buffer, y: Expr, start: Expr, combine: Combine, put: Callable[[Expr, Expr], Stmt]
) -> Stmt:
    """One output row: a vector of results for every ``lanes`` columns, over all positions of the window."""
    window, lanes = planes.window, planes.lanes
    step = window.stride

    def part(v: Expr) -> Stmt:
        acc = local(lanes, "acc")

        def tap(r: int, s: int) -> Stmt:
            def one(lane: Expr) -> Stmt:
                at = [y * index(step[0]) + index(r), s % step[1], v * index(lanes) + index(s // step[1]) + lane]
                return store(acc, [lane], combine(load(acc, [lane]), load(plane, at), r, s))

            return vector(lanes, one)

        taps = unrolled(window.size[0], lambda r: unrolled(window.size[1], lambda s: tap(r, s)))
        first = v * index(lanes)
        count = min(lanes, window.out_width) if planes.vectors == 1 else lanes
        whole = vector(lanes, lambda lane: put(first + lane, load(acc, [lane])))
        some = loop(window.out_width % lanes, lambda lane: put(first + lane, load(acc, [lane])))
        begin = vector(lanes, lambda lane: store(acc, [lane], start))
        if window.out_width % lanes == 0 or count < lanes:
            end = whole if count == lanes else some
        else:
            end = tirx.IfThenElse(v < index(window.out_width // lanes), whole, some)
        return with_buffers([acc], sequence([begin, taps, end]))

    return loop(planes.vectors, part, name="part")


def sweep(
    window: Window,
    target: Target,
    x: Buffer,
    border: float,
    start: Callable[[Expr], Expr],
    combine: Callable[[Expr], Combine],
    put: Callable[[Expr, Expr, Expr, Expr, Expr], Stmt],
) -> Callable[[Expr], Stmt]:
    """The body for one plane, numbered batch * channels + channel.

    Args:
        window: the geometry.
        target: the device.
        x: the input.
        border: the value outside of the plane.
        start: of a channel, the value to begin with.
        combine: of a channel, the value after one more position of the window.
        put: stores a result at (batch, channel, row, column).
    """
    planes = _Planes(window, target.lanes)

    def plane_task(t: Expr) -> Stmt:
        batch, channel = t // index(window.channels), t % index(window.channels)
        plane = scratch([planes.rows, window.stride[1], planes.row], "plane")

        def line(y: Expr) -> Stmt:
            return _line(
                planes, plane, y, start(channel), combine(channel), lambda c, value: put(batch, channel, y, c, value)
            )

        steps = [_fill(planes, plane, x, batch, channel, border), loop(window.out_height, line, name="y")]
        return with_buffers([plane], sequence(steps))

    return plane_task

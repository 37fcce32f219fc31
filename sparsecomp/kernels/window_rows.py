"""Windows of stride 1 or 2 moved over planes: blocks of output rows in registers, straight from the image.

    for each plane (image, channel)                                     parallel
        for each block of output rows, for each strip of one vector
            for each input row of the block, for each column of the window
                load a vector of the input, once, and join it to all results of the block that it belongs to

What lies above and below the image is left out when the code is made. See `window_input` for how vectors are loaded.
"""

from abc import ABC, abstractmethod
from operator import itemgetter

import tvm
import tvm.tirx.script.builder.ir as T
from tvm.script.ir_builder import IRBuilder

from sparsecomp.kernels.emit import (
    Expr,
    argument,
    below,
    each_plane,
    let,
    local,
    prefetch,
    put,
    ramp,
    store,
)
from sparsecomp.kernels.geometry import MOST_TAPS, strip_of
from sparsecomp.kernels.window_input import WindowInput, alike, constant
from sparsecomp.kernels.windows import Window
from sparsecomp.schedules.finish import in_root_block
from sparsecomp.schedules.parallelize import MIN_WORK
from sparsecomp.targets.base import Target

ROWS = 4  # of a block: a vector of the input serves up to so many results


def applies(window: Window) -> bool:
    """Whether such a kernel computes it."""
    return max(window.stride) <= 2 and window.size[0] * window.size[1] <= MOST_TAPS


class WindowRows(ABC):
    """Emits one kernel (x, ..., y): images NCHW. What is done with the values of a window is for subclasses to say.

    Attributes:
        name: of the function.
        border: the value beside, above and below the image.
        start: the vector that each result begins with.
    """

    name: str
    border: float = 0.0
    start: Expr

    def __init__(self, window: Window, target: Target) -> None:
        self.window, self.cores = window, target.cores
        self.lanes = strip_of(window.out_width, target.lanes)  # narrow where a row leaves half of them empty
        self.input = WindowInput(window, self.lanes, self.border)

    def build(self) -> tvm.tirx.PrimFunc:
        """The function."""
        w = self.window
        with IRBuilder() as builder, T.prim_func(s_tir=True):
            T.func_name(self.name)
            self.input.x = argument("x", (w.batch, w.channels, w.height, w.width))
            self.declare()
            self.y = argument("y", (w.batch, w.channels, w.out_height, w.out_width))
            each_plane(w.batch, w.channels, self._workers(), self._plane, self._taps(), reads=1)
        return in_root_block(builder.get())

    @abstractmethod
    def declare(self) -> None:
        """Add the parameters beside x and y."""

    @abstractmethod
    def begin(self, channel: Expr) -> None:
        """Load what a plane needs."""

    @abstractmethod
    def join(self, result: Expr, values: Expr, row: int, column: int) -> Expr:
        """The results after the values at one position of their windows."""

    @abstractmethod
    def finish(self, result: Expr, at: tuple[Expr, Expr], like: tuple[int, int]) -> Expr:
        """What to store for a vector at this row and column; ``like`` is a place with the same lanes outside."""

    def _workers(self) -> int:
        """One where it takes less than to wait for the others."""
        return self.cores if not isinstance(self.window.batch, int) or self._taps() >= MIN_WORK // 2 else 1

    def _taps(self) -> int:
        """Of all windows, of one image where their number is not known."""
        w = self.window
        images = w.batch if isinstance(w.batch, int) else 1
        return images * w.channels * w.out_height * w.out_width * w.size[0] * w.size[1]

    def _plane(self, image: Expr, channel: Expr) -> None:
        self.at = self.input.plane = (image, channel)
        self.begin(channel)
        height = min(ROWS, self.window.out_height)
        starts = list(range(0, self.window.out_height - height + 1, height))
        alike(starts, lambda y: self._is_plain(y, height), lambda y, like: self._strips(y, like, height))
        if rest := self.window.out_height % height:
            last = self.window.out_height - rest
            self._strips(last, last, rest)

    def _is_plain(self, y: int, height: int) -> bool:
        """Whether a block of output rows reads no row outside of the image, and writes nothing behind the plane."""
        w = self.window
        top = y * w.stride[0] - w.padding[0]
        inside = top >= 0 and top + (height - 1) * w.stride[0] + w.size[0] <= w.height
        return inside and not self._is_over(y + height - 1)

    def _is_over(self, row: int) -> bool:
        """Whether a whole vector stored at the begin of this output row goes on behind the plane."""
        w = self.window
        return w.out_width < self.lanes and row * w.out_width + self.lanes > w.out_height * w.out_width

    def _strips(self, y: Expr, like: int, height: int) -> None:
        """A block of output rows from row ``y``, in all columns; ``like`` is a row with the same rows outside."""
        self.input.each_strip(self.window.out_width, lambda x, across: self._block((y, x), (like, across), height))

    def _block(self, first: tuple[Expr, Expr], like: tuple[int, int], height: int) -> None:
        """A vector in each of ``height`` output rows."""
        rows, (above, left), (down, across) = self.window.size[0], self.window.padding, self.window.stride
        results = local("results", height * self.lanes)
        places = [ramp(h * self.lanes, self.lanes) for h in range(height)]
        for place in places:
            store(results, self.start, place)
        self._expect_next(first, height)
        for row in range((height - 1) * down + rows):
            if not 0 <= like[0] * down - above + row < self.window.height:
                continue
            place = (first[0] * down - above + row, first[1] * across - left, like[1] * across - left)
            vectors = sorted(self.input.row(*place), key=itemgetter(0))
            for h in (h for h in range(height) if 0 <= row - h * down < rows):
                for s, vector in vectors:
                    store(results, self.join(results[places[h]], vector, row - h * down, s), places[h])
        for h, place in enumerate(places):
            at = (first[0] + h, first[1])
            result = self.input.in_order(let("result", results[place]))
            self._store(self.finish(result, at, (like[0] + h, like[1])), at, like[0] + h)

    def _expect_next(self, first: tuple[Expr, Expr], height: int) -> None:
        """Prefetch where the block below is stored: other cores have read what was there before."""
        for h in range(height):
            prefetch(self.y, *self.at, first[0] + (height + h), first[1], write=True)

    def _store(self, value: Expr, at: tuple[Expr, Expr], row: int) -> None:
        """What a vector has too many goes where the next row will be written, but for the last rows."""
        mask = below(constant(at[1]), constant(self.window.out_width), self.lanes) if self._is_over(row) else None
        put(self.y, value, mask, self.lanes, *self.at, *at)

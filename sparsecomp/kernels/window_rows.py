"""Windows of stride 1 or 2 moved over planes: blocks of output rows in registers, straight from the image.

    for each plane (image, channel)                                     parallel
        for each block of output rows, for each strip of one vector
            for each input row of the block, for each column of the window
                load a vector of the input, once, and join it to all results of the block that it belongs to

Nothing is copied or padded. What lies above and below the image is left out when the code is made; what lies beside it
is masked, in the strips at the sides only. With stride 2 every other lane is picked from two vectors side by side, in
the order that shuffles within 128 bits give, of which a core starts most; results are put in order before they are
stored.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby

import tvm
import tvm.tirx.script.builder.ir as T
from tvm import tirx
from tvm.script.ir_builder import IRBuilder

from sparsecomp.kernels.emit import (
    Expr,
    argument,
    below,
    each,
    each_plane,
    inside,
    let,
    load,
    local,
    put,
    ramp,
    shuffle,
    splat,
    store,
)
from sparsecomp.kernels.geometry import strip_of
from sparsecomp.kernels.windows import Window
from sparsecomp.schedules.finish import in_root_block
from sparsecomp.schedules.parallelize import MIN_WORK
from sparsecomp.targets.base import Target

ROWS = 4  # of a block: a vector of the input serves up to so many results
MOST_TAPS = 49  # of a window; all of them are written out


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

    def build(self) -> tvm.tirx.PrimFunc:
        """The function."""
        w = self.window
        with IRBuilder() as builder, T.prim_func(s_tir=True):
            T.func_name(self.name)
            self.x = argument("x", (w.batch, w.channels, w.height, w.width))
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
        self.at = (image, channel)
        self.begin(channel)
        height = min(ROWS, self.window.out_height)
        starts = list(range(0, self.window.out_height - height + 1, height))
        _alike(starts, lambda y: self._is_plain(y, height), lambda y, like: self._strips(y, like, height))
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
        width, lanes = self.window.out_width, self.lanes
        starts = [*range(0, width - lanes + 1, lanes)]
        if width % lanes:
            starts.append(max(0, width - lanes))  # the last strip begins early rather than end outside
        _alike(starts, self._is_whole, lambda x, alike: self._block((y, x), (like, alike), height))

    def _is_whole(self, x: int) -> bool:
        """Whether a strip of outputs reads no column outside of the image."""
        w, step = self.window, self.window.stride[1]
        left = x * step - w.padding[1]
        return left >= 0 and left + (w.size[1] - 1) // step * step + step * self.lanes <= w.width

    def _block(self, first: tuple[Expr, Expr], like: tuple[int, int], height: int) -> None:
        """A vector in each of ``height`` output rows."""
        rows, (above, left), (down, across) = self.window.size[0], self.window.padding, self.window.stride
        results = local("results", height * self.lanes)
        places = [ramp(h * self.lanes, self.lanes) for h in range(height)]
        for place in places:
            store(results, self.start, place)
        for row in range((height - 1) * down + rows):
            if not 0 <= like[0] * down - above + row < self.window.height:
                continue
            vectors = self._row(first[0] * down - above + row, first[1] * across - left, like[1] * across - left)
            for h in (h for h in range(height) if 0 <= row - h * down < rows):
                for s, vector in enumerate(vectors):
                    store(results, self.join(results[places[h]], vector, row - h * down, s), places[h])
        for h, place in enumerate(places):
            at = (first[0] + h, first[1])
            result = self._in_order(let("result", results[place]))
            self._store(self.finish(result, at, (like[0] + h, like[1])), at, like[0] + h)

    def _row(self, row: Expr, column: Expr, like: int) -> list[Expr]:
        """For each column of the window, the vector of inputs at it."""
        columns, step, lanes = self.window.size[1], self.window.stride[1], self.lanes
        if step == 1:
            return [self._input(row, column + s, like + s) for s in range(columns)]
        if columns == 3 and like % 2 and -1 <= like < self.window.width - 2 * lanes:
            return self._three_columns(row, column, like)
        found: list[Expr] = []
        for s in range(0, columns, 2):
            pair = [self._input(row, column + s + shift, like + s + shift) for shift in (0, lanes)]
            found += [shuffle(pair, [at + odd for at in _every_other(lanes)]) for odd in range(min(2, columns - s))]
        return found

    def _three_columns(self, row: Expr, column: Expr, like: int) -> list[Expr]:
        """Of three columns and stride 2 the first is the third, one output before: it needs only one more value."""
        lanes, order = self.lanes, _every_other(self.lanes)
        pair = [self._input(row, column + 1 + shift, like + 1 + shift) for shift in (0, lanes)]
        second, third = (shuffle(pair, [at + odd for at in order]) for odd in (0, 1))
        value = self.border if like < 0 else let("before", self.x[(*self.at, row, column)])
        return [
            shuffle([third, splat(value, lanes)], [order.index(at - 2) if at else lanes for at in order]),
            second,
            third,
        ]

    def _in_order(self, results: Expr) -> Expr:
        """What was computed of such vectors, neighbours in neighbouring lanes."""
        if self.window.stride[1] == 1:
            return results
        places = _every_other(self.lanes)
        return shuffle([results], [places.index(2 * lane) for lane in range(self.lanes)])

    def _input(self, row: Expr, column: Expr, like: int) -> Expr:
        """A vector of an input row, with the border beside the image."""
        if like >= self.window.width or like + self.lanes <= 0:
            return splat(self.border, self.lanes)
        whole = like >= 0 and like + self.lanes <= self.window.width
        mask = None if whole else inside(_int(column), _int(self.window.width), self.lanes)
        return let("x", load(self.x, mask, self.lanes, *self.at, row, column, outside=self.border))

    def _store(self, value: Expr, at: tuple[Expr, Expr], row: int) -> None:
        """What a vector has too many goes where the next row will be written, but for the last rows."""
        mask = below(_int(at[1]), _int(self.window.out_width), self.lanes) if self._is_over(row) else None
        put(self.y, value, mask, self.lanes, *self.at, *at)


def _every_other(lanes: int) -> list[int]:
    """The even lanes of two vectors in a row, as blocks of 128 bits of both hold them."""
    block = min(4, lanes)
    starts = [(start, side) for start in range(0, lanes, block) for side in (0, lanes)]
    return [side + start + lane for start, side in starts for lane in range(0, block, 2)]


def _int(value: Expr) -> Expr:
    return tirx.const(value, "int32") if isinstance(value, int) else value


def _alike(starts: Sequence[int], plain: Callable[[int], bool], body: Callable[[Expr, int], None]) -> None:
    """``body(start, like)`` for each start; those that are plain share the code of their first, in a loop."""
    for is_plain, run in groupby(starts, plain):
        found = list(run)
        for group in [found] if is_plain else [[start] for start in found]:
            each(group, partial(_at, body, group[0]))


def _at(body: Callable[[Expr, int], None], like: int, _index: Expr, start: Expr) -> None:
    body(start, like)

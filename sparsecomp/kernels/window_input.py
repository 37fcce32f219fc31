"""What a window of stride 1 or 2 sees while it moves along a row of an image: a vector for each of its columns.

Nothing is copied or padded: what lies beside the image is masked, in the vectors at the sides only. With stride 2 every
other lane is picked from two vectors side by side, in the order that shuffles within 128 bits give, of which a core
starts most; results are put in order before they are stored.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby

from tvm import tirx

from sparsecomp.kernels.emit import Buffer, Expr, each, inside, let, load, shuffle, splat
from sparsecomp.kernels.windows import Window


class WindowInput:
    """Vectors of so many lanes of an image.

    Attributes:
        border: the value beside the image.
        x: images NCHW.
        plane: which of them, and which of its channels, is read.
    """

    x: Buffer
    plane: tuple[Expr, Expr]

    def __init__(self, window: Window, lanes: int, border: float = 0.0) -> None:
        self.window, self.lanes, self.border = window, lanes, border

    def each_strip(self, width: int, body: Callable[[Expr, int], None], vectors: int = 1) -> None:
        """``body(column, like)`` for strips of so many vectors of a row of results, which is so wide.

        The last begins early rather than end outside; ``like`` is a column whose strip has the same lanes outside.
        """
        size = vectors * self.lanes
        starts = [*range(0, width - size + 1, size)]
        if width % size:
            starts.append(max(0, width - size))
        alike(starts, partial(self._is_whole, size=size), body)

    def _is_whole(self, column: int, size: int) -> bool:
        """Whether so many results from this column on need nothing from outside of the image."""
        w, step = self.window, self.window.stride[1]
        left = column * step - w.padding[1]
        return left >= 0 and left + (w.size[1] - 1) // step * step + step * size <= w.width

    def row(self, row: Expr, column: Expr, like: int) -> Iterator[tuple[int, Expr]]:
        """Each column of the window, with the inputs at it: of this row, the first from this column on.

        ``like`` is a column with the same lanes outside of the image. The code of a vector is made when it is asked
        for, in an order in which few of them wait in registers.
        """
        columns, step = self.window.size[1], self.window.stride[1]
        if step == 1:
            yield from ((s, self._load(row, column + s, like + s)) for s in range(columns))
        elif columns == 3 and like % 2:
            yield from self._three_columns(row, column, like)
        else:
            for s in range(0, columns, 2):
                vectors = self._every_second(row, column + s, like + s)[: columns - s]
                yield from enumerate(vectors, s)

    def _every_second(self, row: Expr, column: Expr, like: int) -> list[Expr]:
        """The inputs at every second column, and those between."""
        lanes = self.lanes
        pair = [self._load(row, column + shift, like + shift) for shift in (0, lanes)]
        return [shuffle(pair, [at + odd for at in _every_other(lanes)]) for odd in (0, 1)]

    def _three_columns(self, row: Expr, column: Expr, like: int) -> Iterator[tuple[int, Expr]]:
        """Of three columns and stride 2 the first is the third, one output before: it needs only one more value."""
        lanes, order = self.lanes, _every_other(self.lanes)
        second, third = self._every_second(row, column + 1, like + 1)
        yield 1, second
        yield 2, third
        exists = 0 <= like < self.window.width
        value = let("before", self.x[(*self.plane, row, column)]) if exists else self.border
        yield 0, shuffle([third, splat(value, lanes)], [order.index(at - 2) if at else lanes for at in order])

    def in_order(self, results: Expr) -> Expr:
        """What was computed of such vectors, neighbours in neighbouring lanes."""
        if self.window.stride[1] == 1:
            return results
        places = _every_other(self.lanes)
        return shuffle([results], [places.index(2 * lane) for lane in range(self.lanes)])

    def _load(self, row: Expr, column: Expr, like: int) -> Expr:
        """A vector of an input row, with the border beside the image."""
        if like >= self.window.width or like + self.lanes <= 0:
            return splat(self.border, self.lanes)
        whole = like >= 0 and like + self.lanes <= self.window.width
        mask = None if whole else inside(constant(column), constant(self.window.width), self.lanes)
        return let("x", load(self.x, mask, self.lanes, *self.plane, row, column, outside=self.border))


def _every_other(lanes: int) -> list[int]:
    """The even lanes of two vectors in a row, as blocks of 128 bits of both hold them."""
    block = min(4, lanes)
    starts = [(start, side) for start in range(0, lanes, block) for side in (0, lanes)]
    return [side + start + lane for start, side in starts for lane in range(0, block, 2)]


def constant(value: Expr) -> Expr:
    """A number as an expression."""
    return tirx.const(value, "int32") if isinstance(value, int) else value


def alike(starts: Sequence[int], plain: Callable[[int], bool], body: Callable[[Expr, int], None]) -> None:
    """``body(start, like)`` for each start; those that are plain share the code of their first, in a loop."""
    for is_plain, run in groupby(starts, plain):
        found = list(run)
        for group in [found] if is_plain else [[start] for start in found]:
            each(group, partial(_at, body, group[0]))


def _at(body: Callable[[Expr, int], None], like: int, _index: Expr, start: Expr) -> None:
    body(start, like)

"""Rows of sums on their way to the output, where they lie as they were computed: pixels, or tiles of tokens."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import NamedTuple

import tvm.tirx.script.builder.ir as T
from tvm import tirx

from sparsecomp.kernels.emit import CACHE_FLOATS, Buffer, Expr, guard, let, prefetch, ramp, scratch, store


class Columns(NamedTuple):
    """A column tile as it is multiplied.

    Attributes:
        index: which one of the group.
        vectors: how many it has.
        tail: how many columns are behind them, see ``column_kernel``.
    """

    index: Expr
    vectors: int
    tail: int = 0


RowOf = Callable[[int, Expr], Expr]
"""Which row of the output is row r of panel c of a slice."""


@dataclass(frozen=True)
class Row:
    """A row of sums.

    Attributes:
        start: where it begins in the line.
        number: which row of the output it is, or the last one where it is none.
        exists: whether it is one; None is yes.
    """

    start: Expr
    number: Expr
    exists: Expr | None = None


@dataclass(frozen=True)
class SliceRows:
    """The rows of one slice.

    Attributes:
        panels, rows: panels of the slice, and rows of each.
        lanes: float32 values in a vector.
        row_of: which rows of the output they are; one beyond the last is none.
        limit: rows of the output.
        size: floats of a row of sums.
    """

    panels: int
    rows: int
    lanes: int
    row_of: RowOf
    limit: int
    size: int

    def expect(self, y: Buffer, residual: Buffer | None, place: Callable[[Expr, int], tuple[Expr, ...]]) -> None:
        """Prefetch the output and the residual: ``place(row, i)`` is the index of value i of a row."""
        for c, r in product(range(self.panels), range(self.rows)):
            row = let("row", self.row_of(c, r))
            for i in range(0, self.size, CACHE_FLOATS):
                prefetch(y, *place(row, i), write=True)
                if residual is not None:
                    prefetch(residual, *place(row, i))

    def store(self, sums: Buffer, together: int, body: Callable[[Buffer, list[Row]], None]) -> None:
        """Run ``body(line, rows)`` for all rows that exist, some at once.

        Args:
            sums: in registers.
            together: rows to do at once, which share one piece of code with the others and are taken from memory; 0
                leaves each row in its registers, for a short body.
            body: what to do with rows, whose sums are in ``line``.
        """
        size, lanes, all_rows = self.size, self.lanes, self.panels * self.rows
        if not together:
            for c, r in product(range(self.panels), range(self.rows)):
                self._some(c, r, 1, partial(body, sums))
            return
        line = scratch("line", all_rows * size + lanes)
        for i in range(0, all_rows * size, lanes):
            store(line, sums[ramp(i, lanes)], ramp(i, lanes))
        groups, rest = divmod(self.rows, together)
        if groups and rest:  # a few rows alone would wait for themselves
            groups, rest = groups - 1, together + rest
        for c in range(self.panels):
            if groups:
                with T.serial(0, groups) as group:
                    self._some(c, group * together, together, partial(body, line))
            if rest:
                self._some(c, groups * together, rest, partial(body, line))

    def _some(self, c: int, first: Expr, count: int, body: Callable[[list[Row]], None]) -> None:
        """Run the body for rows of a panel, of which the last panel may have none or some only."""
        numbers = [let("row", self.row_of(c, first + i)) for i in range(count)]
        starts = [(c * self.rows + first + i) * self.size for i in range(count)]
        if self.limit % (self.panels * self.rows) == 0:
            body([Row(*row) for row in zip(starts, numbers, strict=True)])
            return
        rows = [Row(starts[0], numbers[0])]
        for start, number in zip(starts[1:], numbers[1:], strict=True):
            rows.append(Row(start, let("known", tirx.min(number, self.limit - 1)), number < self.limit))
        guard(numbers[0] < self.limit, lambda: body(rows))

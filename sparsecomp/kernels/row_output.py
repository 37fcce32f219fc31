"""Rows of sums on their way to the output, where they lie as they were computed: pixels, or tiles of tokens."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import tvm.tirx.script.builder.ir as T

from sparsecomp.kernels.emit import CACHE_FLOATS, Buffer, Expr, guard, let, prefetch, ramp, scratch, store
from sparsecomp.kernels.schedule import ColumnSchedule

RowOf = Callable[[int, Expr], Expr]
"""Which row of the output is row r of panel c of a slice."""


@dataclass(frozen=True)
class SliceRows:
    """The rows of one slice.

    Attributes:
        schedule: says how many there are.
        row_of: which rows of the output they are; one beyond the last is none.
        limit: rows of the output.
        size: floats of a row of sums.
    """

    schedule: ColumnSchedule
    row_of: RowOf
    limit: int
    size: int

    def expect(self, y: Buffer, residual: Buffer | None, place: Callable[[Expr, int], tuple[Expr, ...]]) -> None:
        """Prefetch the output and the residual: ``place(row, i)`` is the index of value i of a row."""
        for c, r in product(range(self.schedule.slice), range(self.schedule.rows)):
            row = let("row", self.row_of(c, r))
            for i in range(0, self.size, CACHE_FLOATS):
                prefetch(y, *place(row, i), write=True)
                if residual is not None:
                    prefetch(residual, *place(row, i))

    def store(self, sums: Buffer, looped: bool, body: Callable[[Buffer, Expr, Expr], None]) -> None:
        """Run ``body(line, start, row)`` for each row that exists; its sums are in ``line`` from ``start`` on.

        Args:
            sums: in registers.
            looped: the rows of a panel share one piece of code, and are taken from memory: for a long body.
            body: what to do with a row.
        """
        s, size = self.schedule, self.size

        def one(line: Buffer, c: int, r: Expr) -> None:
            row = let("row", self.row_of(c, r))
            exists = None if self.limit % (s.slice * s.rows) == 0 else row < self.limit
            guard(exists, lambda: body(line, (c * s.rows + r) * size, row))

        if not looped:
            for c, r in product(range(s.slice), range(s.rows)):
                one(sums, c, r)
            return
        line = scratch("line", s.slice * s.rows * size + s.lanes)
        for i in range(0, s.slice * s.rows * size, s.lanes):
            store(line, sums[ramp(i, s.lanes)], ramp(i, s.lanes))
        for c in range(s.slice):
            with T.serial(0, s.rows) as r:
                one(line, c, r)

"""Rows of sums on their way to the output, where they lie as they were computed: pixels, or tiles of tokens."""

from collections.abc import Callable

import tvm.tirx.script.builder.ir as T

from sparsecomp.kernels.emit import Buffer, Expr, ramp, scratch, store
from sparsecomp.kernels.schedule import ColumnSchedule

RowOf = Callable[[int, Expr], Expr]
"""Which row of the output is row r of panel c of a slice."""


def each_row(
    sums: Buffer, schedule: ColumnSchedule, size: int, looped: bool, body: Callable[[Buffer, Expr, int, Expr], None]
) -> None:
    """Run ``body(line, index, c, r)`` for each row of the sums of a slice: ``size`` floats from ``index * size`` on.

    Args:
        sums: in registers.
        schedule: says how many rows there are.
        size: floats of a row.
        looped: the rows of a panel share one piece of code, and are taken from memory: for a long body.
        body: what to do with row r of panel c.
    """
    s = schedule
    if not looped:
        for index in range(s.slice * s.rows):
            body(sums, index, *divmod(index, s.rows))
        return
    line = scratch("line", s.slice * s.rows * size + s.lanes)
    for i in range(0, s.slice * s.rows * size, s.lanes):
        store(line, sums[ramp(i, s.lanes)], ramp(i, s.lanes))
    for c in range(s.slice):
        with T.serial(0, s.rows) as r:
            body(line, c * s.rows + r, c, r)

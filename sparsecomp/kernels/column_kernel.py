"""The column kernel of the row-panel family: a packed tile of X that stays in the L1 cache, times panels of rows of W.

The last tile may have a tail: columns behind the last whole vector. For each of these, the sums of all rows of a panel
are a vector of their own, to which one product more is added for each column of W.

See ``schedule.ColumnSchedule`` for the choices, ``formats.panels`` and ``column_weights`` for the weights, ``pixels``
and ``tokens`` for how tiles are packed and stored.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial

import tvm
import tvm.tirx.script.builder.ir as T
from tvm import tirx
from tvm.script.ir_builder import IRBuilder

from sparsecomp.kernels.column_products import Operands, Products
from sparsecomp.kernels.column_weights import WORDS, in_words, offset_type, read_beyond, side_of
from sparsecomp.kernels.emit import (
    Buffer,
    Expr,
    argument,
    clear,
    each_run,
    guard,
    let,
    load,
    put,
    ramp,
    scratch,
    store,
)
from sparsecomp.kernels.pixels import Pixels
from sparsecomp.kernels.problem import Problem
from sparsecomp.kernels.row_output import Columns, RowOf
from sparsecomp.kernels.schedule import ColumnSchedule
from sparsecomp.kernels.shares import DENSITY, divide
from sparsecomp.kernels.tokens import Tokens

MANY_TILES = 16  # of a worker
AHEAD = 2  # slices between that whose output is prefetched and that which is multiplied


def build(problem: Problem, schedule: ColumnSchedule) -> tvm.tirx.PrimFunc:
    """The kernel ``(x, *packed, [bias], [residual], y)``; it serves all weights of this problem and schedule."""
    return _Builder(problem, schedule).build()


class _Builder:
    """Emits one kernel; the fields are what its parts share."""

    def __init__(self, problem: Problem, schedule: ColumnSchedule) -> None:
        self.problem, self.schedule, self.side = problem, schedule, side_of(problem, schedule)
        side = self.side
        self.slices = -(-side.group_rows // (schedule.rows * schedule.slice))
        self.depth = schedule.depth * side.taps
        self.columns = side.group_channels * side.taps
        self.blocks = -(-side.group_channels // schedule.depth)
        self.tile = schedule.vectors * schedule.lanes
        self.shares = divide(problem, schedule)
        self.parts = self.shares.parts

    def build(self) -> tvm.tirx.PrimFunc:
        with IRBuilder() as builder, T.prim_func(s_tir=True):
            T.func_name("row_panel")
            self.side.declare_input()
            self._declare_weight()
            self.side.declare_output()
            if self.schedule.apart:
                self._rows_of_all_tiles()
            else:
                self._tiles()
        return builder.get()

    def _tiles(self) -> None:
        parts = self.parts
        units = self.side.tiles() * parts
        with self._runs(units) as (begin, end):
            self._allocate()
            with T.serial(begin // parts, (end + parts - 1) // parts) as tile:
                first = let("first_part", tirx.max(begin - tile * parts, 0))
                last = let("last_part", tirx.min(end - tile * parts, parts))
                self._tile(tile, first, last)

    def _rows_of_all_tiles(self) -> None:
        s, tiles = self.schedule, self.side.tiles()
        runs = each_run(self.parts, s.workers, self.problem.macs, limit=self._limit, writes=s.rows)
        with runs as (begin, end):
            self._allocate()
            with T.serial(0, tiles) as tile:
                self._tile(tile, begin, end)

    def _runs(self, units: Expr) -> AbstractContextManager[tuple[Expr, Expr]]:
        """Each worker's; not cut inside of a tile, which would be packed again, where there are many."""
        s, limits = self.schedule, self.shares.limits
        many = bool(limits) and limits[-1] >= MANY_TILES * s.workers * self.parts
        macs = self.problem.macs * (DENSITY if s.sparse else 1)
        return each_run(units, s.workers, macs, self.parts if many else 1, self._limit if limits else None)

    def _limit(self, worker: Expr) -> Expr:
        """At which unit the share of a worker begins, and that of the one before it ends."""
        limits = self.shares.limits
        found: Expr = limits[-1]
        for index in reversed(range(len(limits) - 1)):
            found = tirx.Select(worker == index, tirx.const(limits[index], "int32"), found)
        return found

    def _declare_weight(self) -> None:
        side, schedule = self.side, self.schedule
        groups, stored = side.groups, tirx.Var("stored", "int64")
        dense = self.slices * schedule.rows * self.columns * groups + read_beyond(side)
        self.values = argument("values", (tirx.Var("weights", "int64") if schedule.sparse else dense,))
        self.bounds = argument("bounds", (groups * (self.parts + 1),), "int32")
        self.offsets = None
        if schedule.sparse or side.step is None:
            dtype = WORDS[schedule.slice] if in_words(side) else offset_type(side)
            self.offsets = argument("offsets", (stored if schedule.sparse else self.depth,), dtype)
        if schedule.sparse:
            lists = groups * self.blocks * self.slices
            self.starts = argument("starts", (lists + 1,), "int32")
            self.order = argument("order", (lists * schedule.slice,), "int32")
            if schedule.clustered:
                self.rows = argument("rows", (groups * self.slices * schedule.slice * schedule.rows,), "int32")

    def _allocate(self) -> None:
        span = self.schedule.span * self.tile
        side = self.side
        self.packed = side.flat_input() if side.direct else scratch("packed", side.packed_size)
        if self.blocks > 1 or not side.by_rows:
            past_end = side.line if isinstance(side, Tokens) else self.schedule.lanes
            rows = self.slices * self.schedule.slice * self.schedule.rows + past_end
            self.sums = scratch("sums", rows * span)

    def _tile(self, tile: Expr, first: Expr, last: Expr) -> None:
        """All of Y in one group of column tiles, for the parts ``first ... last`` of the rows."""
        self.group = self.side.begin(tile)
        if self.schedule.cuts == 1:
            self._run(first, last)
            return
        if not self.side.direct:
            self.side.pack(self.packed, 0, self.side.group_channels)
        with T.serial(first, last) as part:
            self._run(part, part + 1)

    def _run(self, first: Expr, last: Expr) -> None:
        """These parts of the rows, in all depth blocks."""
        side, s = self.side, self.schedule
        begin = let("begin_slice", self.bounds[self.group * (self.parts + 1) + first])
        end = let("end_slice", self.bounds[self.group * (self.parts + 1) + last])
        height = s.rows * s.slice
        self.origin = let("first_row", begin * height)
        with T.serial(0, self.blocks) as block:
            channels = let("channels", tirx.min(s.depth, side.group_channels - block * s.depth))
            self.base = side.base(block * s.depth)
            if side.direct or s.cuts == 1:
                side.pack(self.packed, block * s.depth, channels)
            with T.serial(0, side.column_tiles()) as column:
                self._at_width(column, partial(self._slices, block, channels, (begin, end)))
        if isinstance(side, Tokens) and not side.by_rows:
            side.finish(self.sums, self.origin, tirx.min(end * height, side.group_rows))

    def _at_width(self, column: Expr, body: Callable[[Columns], None]) -> None:
        """Run the body for the column tile, as many vectors as it has: the last is narrower, or has a tail."""
        widths = self.side.widths()
        left = let("left", self.side.vectors_left(column)) if len(widths) > 1 else 0

        def choose(wider: tuple[int, int], narrower: Sequence[tuple[int, int]]) -> None:
            if not narrower:
                body(Columns(column, *wider))
                return
            vectors, tail = narrower[0]
            with T.If(left > vectors + bool(tail)):
                with T.Then():
                    body(Columns(column, *wider))
                with T.Else():
                    choose(narrower[0], narrower[1:])

        choose(widths[0], widths[1:])

    def _slices(self, block: Expr, channels: Expr, positions: tuple[Expr, Expr], columns: Columns) -> None:
        side = self.side
        last = None if self.blocks == 1 else block == self.blocks - 1
        with T.serial(*positions) as position:
            if side.by_rows:
                guard(last, partial(self._expect_output, block, position, positions, columns))
            if self.schedule.lanes > 1:
                steps = max(1, self.slices // self.schedule.workers)
                side.expect_input(self.packed, block, position - positions[0], steps)
            self._slice(block, channels, position, columns)

    def _expect_output(self, block: Expr, position: Expr, positions: tuple[Expr, Expr], columns: Columns) -> None:
        """Prefetch the output of a slice some way ahead: of this column tile, or at the end of it of the next."""
        begin, end = positions
        ahead = let("ahead", position + AHEAD)
        wraps = let("wraps", ahead >= end)
        expected = let("expected", tirx.Select(wraps, tirx.min(begin + (ahead - end), end - 1), ahead))
        column = let("next_column", columns.index + tirx.Select(wraps, 1, 0))
        self.side.expect_slice(self._rows_of_slice(block, expected), columns._replace(index=column))

    def _slice(self, block: Expr, channels: Expr, position: Expr, columns: Columns) -> None:
        """The panels of one slice times one column tile, added over one depth block."""
        s = self.schedule
        index = let("index", (self.group * self.blocks + block) * self.slices + position)
        rows = self._rows_of_slice(block, position)
        products = Products(self._operands(), columns)
        self._start(products.sums, block, rows, columns)
        products.clear_tails()
        count = channels * self.side.taps
        if s.sparse:
            begin, end = let("begin_entry", self.starts[index]), let("end_entry", self.starts[index + 1])
        else:
            begin = self.slices * (self.group * self.columns + block * self.depth) + position * count
            begin, end = let("begin_entry", begin), count
        with T.serial(begin, end) if s.sparse else T.serial(0, end) as j:
            products.add(j, j if s.sparse else begin + j)
        self._end(products.sums, block, rows, columns)
        if isinstance(self.side, Pixels) and columns.tail:
            self.side.store_tail(products.tails, rows, columns.tail)

    def _operands(self) -> Operands:
        return Operands(self.side, self.values, self.offsets, self.packed, self.base)

    def _rows_of_slice(self, block: Expr, position: Expr) -> RowOf:
        s = self.schedule
        index = let("index", (self.group * self.blocks + block) * self.slices + position)
        panels = [self.order[index * s.slice + c] if s.sparse else position for c in range(s.slice)]
        return self._rows([let("panel_row", panel * s.rows) for panel in panels])

    def _rows(self, starts: list[Expr]) -> RowOf:
        """Which row of Y is row r of panel c of the slice."""
        s = self.schedule
        if not s.clustered:
            return lambda c, r: starts[c] + r
        first = self.group * (self.slices * s.slice * s.rows)
        return lambda c, r: self.rows[first + starts[c] + r]

    def _start(self, acc: Buffer, block: Expr, rows: RowOf, columns: Columns) -> None:
        """Begin at zero in the first depth block, else with the sums so far."""
        if self.blocks == 1:
            self._zero(acc, columns.vectors)
            return
        with T.If(block == 0):
            with T.Then():
                self._zero(acc, columns.vectors)
            with T.Else():
                for i, at in self._vectors(rows, columns):
                    store(acc, load(self.sums, None, self.schedule.lanes, at), ramp(i, self.schedule.lanes))

    def _end(self, acc: Buffer, block: Expr, rows: RowOf, columns: Columns) -> None:
        """Hand complete sums to the output, keep others."""
        side = self.side
        if not side.by_rows:
            self._keep(acc, rows, columns)
        elif self.blocks == 1:
            side.store_slice(acc, rows, columns)
        else:
            with T.If(block == self.blocks - 1):
                with T.Then():
                    side.store_slice(acc, rows, columns)
                with T.Else():
                    self._keep(acc, rows, columns)

    def _keep(self, acc: Buffer, rows: RowOf, columns: Columns) -> None:
        lanes = self.schedule.lanes
        for i, at in self._vectors(rows, columns):
            put(self.sums, acc[ramp(i, lanes)], None, lanes, at)

    def _zero(self, acc: Buffer, width: int) -> None:
        s = self.schedule
        clear(acc, s.slice * s.rows * width * s.lanes, s.lanes)

    def _vectors(self, rows: RowOf, columns: Columns) -> list[tuple[int, Expr]]:
        """For each vector of a slice's sums, its index there and in the array of sums of the tile."""
        s, width, span = self.schedule, columns.vectors, self.schedule.span * self.tile
        return [
            (
                ((c * s.rows + r) * width + v) * s.lanes,
                (rows(c, r) - self.origin) * span + columns.index * self.tile + v * s.lanes,
            )
            for c in range(s.slice)
            for r in range(s.rows)
            for v in range(width)
        ]

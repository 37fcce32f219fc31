"""The linear side of the row-panel kernel: transposes turn features into rows and tokens into columns, and back."""

import math
from itertools import product

import tvm.tirx.script.builder.ir as T
from tvm import tirx

from sparsecomp.kernels.emit import (
    CACHE_FLOATS,
    Buffer,
    Expr,
    argument,
    below,
    let,
    load,
    prefetch,
    ramp,
    scratch,
    splat,
    store,
    transpose,
)
from sparsecomp.kernels.epilogue import rows_at_once, rows_in_loop
from sparsecomp.kernels.finished import Piece, output_arguments, put_finished
from sparsecomp.kernels.geometry import widths
from sparsecomp.kernels.problem import LinearProblem
from sparsecomp.kernels.row_output import Columns, Row, RowOf, SliceRows
from sparsecomp.kernels.schedule import ColumnSchedule

MOST_EXPECTED = 8  # cache lines that one slice prefetches: layers of few rows spend their time on packing


class Tokens:
    """Columns are tokens."""

    def __init__(self, problem: LinearProblem, schedule: ColumnSchedule) -> None:
        self.problem, self.schedule = problem, schedule
        self.tile = schedule.vectors * schedule.lanes
        self.span = schedule.span * self.tile
        assert {problem.x_tile, problem.y_tile} <= {0, self.span}, "tiles that are handed on are those of the schedule"
        self.direct, self.by_rows = problem.x_tile > 0, problem.y_tile > 0
        self.line = max(schedule.lanes, CACHE_FLOATS if schedule.lanes > 1 else 1)
        self.tail = 0
        self.groups = 1
        self.group_rows = problem.out_features
        self.group_channels = problem.in_features
        self.taps = 1
        self.channel_size = self.step = self.span
        self.unit = 1
        self.offsets = (0,)
        packed = schedule.depth if schedule.cuts == 1 else problem.in_features
        self.packed_size = -(-packed // schedule.lanes) * schedule.lanes * self.span

    def declare_input(self) -> None:
        """Add the parameter x."""
        p = self.problem
        tokens = tirx.Var("tokens", "int64") if p.tokens is None else p.tokens
        self.rows = tokens
        self.x = argument("x", self._shape(p.in_features, p.x_tile))

    def declare_output(self) -> None:
        """Add the parameters bias, residual and y."""
        p = self.problem
        shape = self._shape(p.out_features, p.y_tile)
        self.bias, self.residual, self.y = output_arguments(p.epilogue, p.out_features, shape)

    def _shape(self, features: int, tile: int) -> tuple[Expr, ...]:
        return ((self.rows + tile - 1) // tile, features, tile) if tile else (self.rows, features)

    def flat_input(self) -> Buffer:
        """All of x, which is in tiles, in one line."""
        return T.decl_buffer((math.prod(self._shape(self.problem.in_features, self.span)),), data=self.x.data)

    def tiles(self) -> Expr:
        """How many groups of column tiles there are."""
        self.tokens = let("n", tirx.Cast("int32", self.rows)) if self.problem.tokens is None else self.problem.tokens
        return (self.tokens + self.span - 1) // self.span

    def begin(self, tile: Expr) -> Expr:
        """Locate a group of column tiles; returns its channel group."""
        self.index = tile
        self.first = let("first", tile * self.span)
        return 0

    def base(self, first_feature: Expr) -> Expr:
        """Where the features from this one on begin: in the packed tile, or in x itself."""
        if self.direct:
            return let("base", (self.index * self.problem.in_features + first_feature) * self.span)
        return 0 if self.schedule.cuts == 1 else first_feature * self.span

    def column_tiles(self) -> Expr:
        """How many column tiles of the group have a token."""
        return tirx.min(self.schedule.span, (self.tokens - self.first + self.tile - 1) // self.tile)

    def widths(self) -> tuple[tuple[int, int], ...]:
        """As how many vectors a column tile is multiplied, and no tail; the most first."""
        return widths(self.problem.tokens, self.schedule)

    def vectors_left(self, column: Expr) -> Expr:
        """How many vectors there are from the beginning of a column tile on."""
        return (self.tokens - self.first - column * self.tile + self.schedule.lanes - 1) // self.schedule.lanes

    def _vectors(self) -> Expr:
        """How many vectors of the group have a token."""
        lanes = self.schedule.lanes
        return tirx.min(self.span // lanes, (self.tokens - self.first + lanes - 1) // lanes)

    def _clear(self, packed: Buffer, features: Expr) -> None:
        """Zeros in the vectors that are multiplied and have no token: denormal numbers in them would take an age."""
        lanes = self.schedule.lanes
        if self.problem.tokens is not None:
            return  # the narrower width is that of the last tile
        used = let("used", self._vectors())
        rest = let("rest", used % self.schedule.vectors)
        wide = rest
        for width, _ in self.widths():
            wide = tirx.if_then_else(tirx.And(rest > 0, rest <= width), width, wide)
        with T.serial(used, used - rest + wide) as t, T.serial(0, features) as k:
            store(packed, splat(0.0, lanes), ramp(k * self.span + t * lanes, lanes))

    def pack(self, packed: Buffer, first_feature: Expr, features: Expr) -> None:
        """Transpose these features of the tokens of the tile; what is in tiles only has to come to the L1 cache."""
        lanes = self.schedule.lanes
        if self.direct:
            base = self.base(first_feature)
            with T.serial(0, features * (self.span // CACHE_FLOATS)) as line:
                prefetch(packed, base + line * CACHE_FLOATS)
            return
        self._clear(packed, features)
        with T.serial(0, self._vectors()) as t, T.serial(0, (features + lanes - 1) // lanes) as k:
            feature = let("feature", first_feature + k * lanes)
            even = self.problem.in_features % lanes == 0 and self.schedule.depth % lanes == 0
            mask = None if even else below(feature, self.problem.in_features, lanes)
            rows = [
                let("row", load(self.x, mask, lanes, tirx.min(self.first + t * lanes + i, self.tokens - 1), feature))
                for i in range(lanes)
            ]
            for i, column in enumerate(transpose(rows, lanes)):
                store(packed, column, ramp((k * lanes + i) * self.span + t * lanes, lanes))

    def expect_input(self, packed: Buffer, block: Expr, step: Expr, steps: int) -> None:
        """Prefetch what the next depth block reads, or the next tile: in each of so many steps a share of it.

        The hardware sees what is to come only when all of it is needed at once.
        """
        depth, features = self.schedule.depth, self.problem.in_features
        if depth >= features and (self.problem.tokens or self.span + 1) <= self.span:
            return  # nothing comes next
        across = -(-depth // CACHE_FLOATS)  # cache lines of a token, if x is row-major
        lines = depth * self.span // CACHE_FLOATS if self.direct else across * self.span
        share = min(-(-lines // steps), MOST_EXPECTED)
        with T.If(step * share < lines), T.Then():
            if self.direct:
                start = self.base((block + 1) * depth)
                for line in range(share):
                    prefetch(packed, start + (step * share + line) * CACHE_FLOATS, level=2)
                return
            ends = let("ends", (block + 1) * depth >= features)
            token = let("next_token", self.first + tirx.Select(ends, self.span, 0))
            feature = let("next_feature", tirx.Select(ends, 0, (block + 1) * depth))
            for line in (step * share + i for i in range(share)):
                row, at = tirx.min(token + line // across, self.tokens - 1), feature + line % across * CACHE_FLOATS
                prefetch(self.x, row, tirx.min(at, features - 1), level=2)

    def expect_slice(self, rows: RowOf, tile: Columns) -> None:
        """Prefetch what `store_slice` is going to need."""
        first = tile.index * self.tile
        self._rows(rows, tile).expect(self.y, self.residual, lambda row, at: (self.index, row, first + at))

    def store_slice(self, sums: Buffer, rows: RowOf, tile: Columns) -> None:
        """Apply the epilogue to the sums of a slice, which are complete, and store them in the tile."""
        together = rows_in_loop(self.problem.epilogue, tile.vectors)
        self._rows(rows, tile).store(sums, together, lambda line, some: self._store_rows(line, some, tile))

    def _rows(self, rows: RowOf, tile: Columns) -> SliceRows:
        s = self.schedule
        return SliceRows(s.slice, s.rows, s.lanes, rows, self.group_rows, tile.vectors * s.lanes)

    def _store_rows(self, line: Buffer, rows: list[Row], tile: Columns) -> None:
        lanes, pieces = self.schedule.lanes, []
        for row, v in product(rows, range(0, tile.vectors * lanes, lanes)):
            bias = None if self.bias is None else splat(self.bias[row.number], lanes)
            place = (self.index, row.number, tile.index * self.tile + v)
            pieces.append(Piece(load(line, None, lanes, row.start + v), bias, place, None, row.exists))
        self._put(pieces)

    def _put(self, pieces: list[Piece]) -> None:
        put_finished(pieces, self.y, self.residual, self.problem.epilogue, self.schedule.lanes)

    def finish(self, sums: Buffer, begin: Expr, end: Expr) -> None:
        """Transpose the complete sums of the rows ``begin ... end`` back, apply the epilogue and store them.

        The sums begin with those of the row ``begin``.
        A cache line of each token's output is written at once: the lines of a few tokens, which are often a multiple of
        a page apart, do not stay in the L1 cache together.
        """
        lanes, step = self.schedule.lanes, self.line
        vectors = step // lanes
        with T.serial(0, (end - begin + step - 1) // step) as m, T.serial(0, self._vectors()) as t:
            row = let("row", begin + m * step)
            token = let("token", self.first + t * lanes)
            self._expect(row + step, token)
            line = scratch("line", lanes * step)
            for v in range(vectors):
                self._turn(sums, m * step + v * lanes, t, line, v)
            with T.If(row + step <= end):
                with T.Then():
                    self._finish_lines(line, token, row, None)
                with T.Else():
                    self._finish_lines(line, token, row, end)

    def _expect(self, row: Expr, token: Expr) -> None:
        """Prefetch what the next rows of these tokens are written to, and added from."""
        for i in range(self.schedule.lanes):
            at = (tirx.min(token + i, self.tokens - 1), tirx.min(row, self.problem.out_features - 1))
            prefetch(self.y, *at, write=True)
            if self.residual is not None:
                prefetch(self.residual, *at)

    def _turn(self, sums: Buffer, row: Expr, t: Expr, line: Buffer, vector: int) -> None:
        """A square of sums, transposed, to its place in the lines of some tokens."""
        lanes = self.schedule.lanes
        columns = [let("column", load(sums, None, lanes, (row + i) * self.span + t * lanes)) for i in range(lanes)]
        for i, value in enumerate(transpose(columns, lanes)):
            store(line, value, ramp(i * self.line + vector * lanes, lanes))

    def _finish_lines(self, line: Buffer, token: Expr, row: Expr, limit: Expr | None) -> None:
        """A cache line of the output of each of a vector of tokens, of which the rows up to the limit exist."""
        lanes, vectors = self.schedule.lanes, self.line // self.schedule.lanes
        together = rows_at_once(self.problem.epilogue, vectors) if limit is None else 1
        rows = [let("row", row + v * lanes) for v in range(vectors)]
        masks = [None if limit is None or lanes == 1 else below(at, limit, lanes) for at in rows]
        biases = [
            None if self.bias is None else let("bias", load(self.bias, masks[v], lanes, rows[v]))
            for v in range(vectors)
        ]
        count = let("count", tirx.min(lanes, self.tokens - token))
        with T.serial(0, (count + together - 1) // together) as group:
            pieces = []
            for t, v in product(range(together), range(vectors)):
                at = let("at", group * together + t)
                place = (tirx.min(token + at, self.tokens - 1), rows[v])
                value = load(line, None, lanes, at * self.line + v * lanes)
                pieces.append(Piece(value, biases[v], place, masks[v], at < count if t else None))
            self._put(pieces)

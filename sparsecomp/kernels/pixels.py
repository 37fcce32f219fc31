"""The convolution side of the row-panel kernel: packing tiles of an image, and storing rows of output pixels."""

from itertools import product

import tvm.tirx.script.builder.ir as T
from tvm import tirx

from sparsecomp.kernels.emit import (
    CACHE_FLOATS,
    Buffer,
    Expr,
    argument,
    below,
    in_powers,
    let,
    load,
    local,
    prefetch,
    ramp,
    shuffle,
    splat,
    store,
    transpose,
)
from sparsecomp.kernels.epilogue import at_once, rows_in_loop
from sparsecomp.kernels.finished import Piece, output_arguments, put_finished
from sparsecomp.kernels.geometry import MOST_IN_TAIL, flatten, geometry, row_lanes, tail, widths
from sparsecomp.kernels.image_packing import pack
from sparsecomp.kernels.image_tile import Tile
from sparsecomp.kernels.problem import ConvProblem
from sparsecomp.kernels.row_output import Columns, Row, RowOf, SliceRows
from sparsecomp.kernels.schedule import ColumnSchedule


class Pixels:
    """Columns are output pixels of one image; see ``geometry`` for how the image is packed."""

    def __init__(self, problem: ConvProblem, schedule: ColumnSchedule) -> None:
        self.declared, self.problem, self.schedule = problem, flatten(problem), schedule
        self.geometry = geometry(self.problem, schedule)
        self.tile = schedule.vectors * schedule.lanes
        self.groups = problem.groups
        self.group_rows = problem.out_channels // problem.groups
        self.group_channels = problem.in_channels // problem.groups
        self.taps = problem.taps
        self.direct, self.by_rows = schedule.direct, True
        self.channel_size = problem.height * problem.width if schedule.direct else self.geometry.channel
        self.unit = self.channel_size if schedule.direct else 1  # of an offset: those in x itself are long
        self.offsets = self.geometry.offsets
        self.step = self.channel_size if self.taps == 1 else self.geometry.step
        self.tail = tail(self.geometry.columns, schedule)
        self.whole = self.geometry.columns - self.tail  # columns of vectors
        self.packed_size = schedule.depth * self.channel_size + schedule.lanes

    def declare_input(self) -> None:
        """Add the parameter x."""
        p = self.declared
        self.batch = tirx.Var("batch", "int64") if p.batch is None else p.batch
        self.x = argument("x", (self.batch, p.in_channels, p.height, p.width))

    def declare_output(self) -> None:
        """Add the parameters bias, residual and y."""
        p = self.declared
        shape = (self.batch, p.out_channels, p.out_height, p.out_width)
        self.bias, self.residual, self.y = output_arguments(p.epilogue, p.out_channels, shape)

    def tiles(self) -> Expr:
        """How many groups of column tiles there are, over all images and channel groups."""
        self._view_pixels_as_columns()
        self.image_tiles = -(-self.whole // (self.tile * self.schedule.span))
        images = self.batch if isinstance(self.batch, int) else let("images", tirx.Cast("int32", self.batch))
        return images * (self.groups * self.image_tiles)

    def _view_pixels_as_columns(self) -> None:
        p = self.problem
        columns = (self.batch, p.out_channels, p.out_height * p.out_width)
        self.x = T.decl_buffer((self.batch, p.in_channels, p.height, p.width), data=self.x.data)
        self.y = T.decl_buffer(columns, data=self.y.data)
        if self.residual is not None:
            self.residual = T.decl_buffer(columns, data=self.residual.data)

    def begin(self, tile: Expr) -> Expr:
        """Locate a group of column tiles; returns its channel group."""
        self.first = let("first", tile % self.image_tiles * (self.tile * self.schedule.span))
        rest = let("rest", tile // self.image_tiles)
        self.image = let("image", rest // self.groups)
        self.group = let("group", rest % self.groups)
        return self.group

    def flat_input(self) -> Buffer:
        """All of x in one line."""
        p = self.declared
        return T.decl_buffer((self.batch * p.in_channels * p.height * p.width,), data=self.x.data)

    def base(self, channel: Expr) -> Expr:
        """Where the group's channels from this one on begin: in the packed tile, or in x itself."""
        if not self.direct:
            return 0
        row = self.image * self.declared.in_channels + self.group * self.group_channels + channel
        return let("base", row * self.channel_size + self.first)

    def column_tiles(self) -> Expr:
        """How many column tiles of the group have a pixel."""
        tile = self.tile
        return tirx.min(self.schedule.span, (self.whole - self.first + tile - 1) // tile)

    def widths(self) -> tuple[tuple[int, int], ...]:
        """As how many vectors a column tile is multiplied, and how many pixels of a tail; the most vectors first."""
        return widths(self.geometry.columns, self.schedule)

    def vectors_left(self, column: Expr) -> Expr:
        """How many vectors there are from the beginning of a column tile on; a tail counts as one."""
        lanes = self.schedule.lanes
        return (self.geometry.columns - self.first - column * self.tile + lanes - 1) // lanes

    def pack(self, packed: Buffer, first_channel: Expr, channels: Expr) -> None:
        """Fill the planes of these channels of the group; nothing where x is multiplied where it is."""
        if self.direct:
            return
        channel = let("channel", self.group * self.group_channels + first_channel)
        tile = Tile(self.x, packed, self.image, channel, channels, self.first)
        pack(tile, self.problem, self.schedule, self.geometry)

    def expect_input(self, _packed: Buffer, block: Expr, step: Expr, steps: int) -> None:
        """Prefetch what the next depth block reads, or the next tile: in each of so many steps some channels of it."""
        depth, channels, span = self.schedule.depth, self.group_channels, self.tile * self.schedule.span
        if depth >= channels and self.geometry.columns <= span:
            return  # nothing comes next
        each = -(-depth // steps)
        with T.If(step * each < depth), T.Then():
            ends = let("ends", (block + 1) * depth >= channels)
            first = let("next_first", self.first + tirx.Select(ends, span, 0))
            channel = let("next_channel", self.group * channels + tirx.Select(ends, 0, (block + 1) * depth))
            for at in self._lines(first, span):
                for k in range(each):
                    prefetch(self.x, self.image, channel + step * each + k, *at, level=2)

    def _lines(self, first: Expr, span: int) -> list[tuple[Expr, Expr]]:
        """Row and column of the input in each cache line that the columns from ``first`` on are the first to read."""
        p, pitch = self.problem, self.geometry.pitch
        step = max(1, CACHE_FLOATS // p.stride[1])
        bottom = (p.kernel[0] - 1) * p.dilation[0] - p.padding[0]
        found: list[tuple[Expr, Expr]] = []
        for at in range(min(span, step) - 1, span, step):
            row = let("line_row", (first + at) // pitch)
            column = (first + at - row * pitch) * p.stride[1]
            found += [(row * p.stride[0] + (bottom - up), column) for up in range(min(p.stride[0], p.kernel[0]))]
        return found

    def expect_slice(self, rows: RowOf, tile: Columns) -> None:
        """Prefetch what `store_slice` is going to need: rows of an image are too far apart for the hardware to."""
        g = self.geometry
        first = self.first + tile.index * self.tile
        pixel = let("pixel", first - first // g.pitch * (g.pitch - self.problem.out_width))

        def place(row: Expr, at: int) -> tuple[Expr, ...]:
            return self.image, self.group * self.group_rows + row, pixel + at

        self._rows(rows, tile).expect(self.y, self.residual, place)

    def store_slice(self, sums: Buffer, rows: RowOf, tile: Columns) -> None:
        """Apply the epilogue to the sums of a slice, which are complete, and store them."""
        slice_rows, first = self._rows(rows, tile), let("first_column", self.first + tile.index * self.tile)
        epilogue = self.problem.epilogue
        if self.geometry.pitch == self.problem.out_width:
            together = rows_in_loop(epilogue, tile.vectors)
            slice_rows.store(sums, together, lambda line, some: self._store_rows(line, some, first, tile.vectors))
        else:
            size = slice_rows.size
            slice_rows.store(sums, at_once(epilogue), lambda line, some: self._store_parts(line, some, first, size))

    def _rows(self, rows: RowOf, tile: Columns) -> SliceRows:
        s = self.schedule
        return SliceRows(s.slice, s.rows, s.lanes, rows, self.group_rows, tile.vectors * s.lanes)

    def _store_rows(self, line: Buffer, rows: list[Row], first: Expr, vectors: int) -> None:
        """Columns are pixels: store the vectors of rows as they are."""
        lanes, columns = self.schedule.lanes, self.geometry.columns
        at = [let("at", first + v * lanes) for v in range(vectors)]
        masks = [None if self.whole % lanes == 0 else below(column, columns, lanes) for column in at]
        self._finish(
            [
                (load(line, None, lanes, row.start + v * lanes), row, at[v], masks[v])
                for row, v in product(rows, range(vectors))
            ],
            lanes,
        )

    def store_tail(self, sums: Buffer, rows: RowOf, count: int) -> None:
        """The same for the so many pixels of the tail, of each of which a vector has the sums of all rows."""
        size = row_lanes(self.schedule.rows)
        vectors = [load(sums, None, size, min(p, count - 1) * size) for p in range(MOST_IN_TAIL)]
        line = local("line", size * MOST_IN_TAIL)
        for start in range(0, size, MOST_IN_TAIL):
            square = [shuffle([vector], list(range(start, start + MOST_IN_TAIL))) for vector in vectors]
            for row, pixels in enumerate(transpose(square, MOST_IN_TAIL), start):
                store(line, pixels, ramp(row * MOST_IN_TAIL, MOST_IN_TAIL))
        slice_rows = SliceRows(1, self.schedule.rows, MOST_IN_TAIL, rows, self.group_rows, MOST_IN_TAIL)
        together = rows_in_loop(self.problem.epilogue, 1)
        slice_rows.store(line, together, lambda line, some: self._store_tails(line, some, count))

    def _store_tails(self, line: Buffer, rows: list[Row], count: int) -> None:
        """By 4, 2 and 1 pixels."""
        for first, size in in_powers(count):
            at = self.whole + first
            self._finish([(load(line, None, size, row.start + first), row, at, None) for row in rows], size)

    def _store_parts(self, line: Buffer, rows: list[Row], first: Expr, size: int) -> None:
        """Columns between image rows are not pixels: store what belongs to each image row."""
        lanes, g = self.schedule.lanes, self.geometry
        top = let("top", first // g.pitch)
        bottom = tirx.min((first + size - 1) // g.pitch + 1, self.problem.out_height)
        with T.serial(0, bottom - top) as i:
            left = let("left", tirx.max((top + i) * g.pitch, first))
            right = let("right", tirx.min((top + i) * g.pitch + self.problem.out_width, first + size))
            gap = let("gap", (top + i) * (g.pitch - self.problem.out_width))
            with T.serial(0, (right - left + lanes - 1) // lanes) as chunk:
                # The last vector begins early rather than have lanes off, where the part is long enough.
                column = let("column", tirx.min(left + chunk * lanes, tirx.max(right - lanes, left)))
                sums = [line[ramp(row.start + column - first, lanes)] for row in rows]
                mask = below(column, right, lanes)
                self._finish([(value, row, column - gap, mask) for value, row in zip(sums, rows, strict=True)], lanes)

    def _finish(self, sums: list[tuple[Expr, Row, Expr, Expr | None]], lanes: int) -> None:
        """Vectors of so many sums, each of a row, from a pixel on, as far as the mask says."""
        pieces = []
        for value, row, pixel, mask in sums:
            channel = let("channel", self.group * self.group_rows + row.number)
            bias = None if self.bias is None else splat(self.bias[channel], lanes)
            pieces.append(Piece(value, bias, (self.image, channel, pixel), mask, row.exists))
        put_finished(pieces, self.y, self.residual, self.problem.epilogue, lanes)

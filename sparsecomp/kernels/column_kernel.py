"""The column kernel of the row-panel family: a packed tile of X that stays in the L1 cache, times panels of rows of W.

See ``schedule.ColumnSchedule`` for the choices, ``formats.panels`` for the weights, ``pixels`` and ``tokens`` for how
tiles are packed and stored.
"""

import numpy as np
import numpy.typing as npt
import tvm
import tvm.tirx.script.builder.ir as T
from tvm import tirx
from tvm.script.ir_builder import IRBuilder

from sparsecomp.formats.panels import PackedPanels, Panels
from sparsecomp.kernels.emit import Buffer, Expr, argument, let, load, local, put, ramp, scratch, splat, store
from sparsecomp.kernels.pixels import Pixels
from sparsecomp.kernels.problem import ConvProblem, Problem
from sparsecomp.kernels.schedule import ColumnSchedule
from sparsecomp.kernels.tokens import Tokens

Array = npt.NDArray[np.generic]


def pack(weight: Array, problem: Problem, schedule: ColumnSchedule) -> tuple[Array, ...]:
    """The weight, ``[out, in]`` or OIHW, as the kernel's arguments ``values, order, bounds[, offsets][, starts]``."""
    side = _side(problem, schedule)
    form = Panels(schedule.rows, schedule.depth * side.taps, schedule.sparse, schedule.workers)
    matrix = weight.reshape(side.groups, side.group_rows, side.group_channels * side.taps)
    groups = [form.pack(group) for group in matrix]
    values = np.concatenate([g.values.ravel() for g in groups] or [np.zeros(0, np.float32)])
    bounds = np.concatenate([g.bounds for g in groups])
    arrays: list[Array] = [_filled(values), bounds]
    if not schedule.sparse:
        return (*arrays, _offsets(side, np.arange(form.depth))) if side.taps > 1 else tuple(arrays)
    order = np.concatenate([g.order for g in groups])
    offsets = _offsets(side, np.concatenate([g.columns for g in groups]))
    return (*arrays, _filled(offsets), _starts(groups), order)


def _filled(array: Array) -> Array:
    """The array, or one zero where it has no elements: no tensor of a program is empty."""
    return array if array.size else np.zeros(1, array.dtype)


def _starts(groups: list[PackedPanels]) -> npt.NDArray[np.int32]:
    """The starts of all groups in one list: they follow one another, so that an end is the next start."""
    stored = np.cumsum([0, *(len(g.columns) for g in groups)])
    parts = [g.starts[:-1] + first for g, first in zip(groups, stored, strict=False)]
    return np.concatenate([*parts, stored[-1:]]).astype(np.int32)


def _offsets(side: Pixels | Tokens, columns: npt.NDArray[np.integer]) -> Array:
    """Where in the packed tile the operand of each column (channel, tap) begins."""
    channel, tap = columns // side.taps, columns % side.taps
    offsets: Array = channel * side.channel_size + np.array(side.offsets)[tap]
    return offsets.astype(_offset_type(side))


def _offset_type(side: Pixels | Tokens) -> str:
    return "uint16" if side.channel_size * side.schedule.depth <= 1 << 16 else "int32"


def _side(problem: Problem, schedule: ColumnSchedule) -> Pixels | Tokens:
    return Pixels(problem, schedule) if isinstance(problem, ConvProblem) else Tokens(problem, schedule)


def build(problem: Problem, schedule: ColumnSchedule) -> tvm.tirx.PrimFunc:
    """The kernel ``(x, *packed, [bias], [residual], y)``; it serves all weights of this problem and schedule."""
    return _Builder(problem, schedule).build()


class _Builder:
    """Emits one kernel; the fields are what its parts share."""

    def __init__(self, problem: Problem, schedule: ColumnSchedule) -> None:
        self.side, self.schedule = _side(problem, schedule), schedule
        side = self.side
        self.panels = -(-side.group_rows // schedule.rows)
        self.depth = schedule.depth * side.taps
        self.columns = side.group_channels * side.taps
        self.blocks = -(-side.group_channels // schedule.depth)
        self.tile = schedule.vectors * schedule.lanes

    def build(self) -> tvm.tirx.PrimFunc:
        with IRBuilder() as builder, T.prim_func(s_tir=True):
            T.func_name("row_panel")
            T.func_attr({"tirx.noalias": True})
            self.side.declare_input()
            self._declare_weight()
            self.side.declare_output()
            parts = self.schedule.workers
            units = self.side.tiles() * parts
            with T.parallel(0, parts) as worker:
                begin = let("begin", worker * units // parts)
                end = let("end", (worker + 1) * units // parts)
                self._allocate()
                with T.serial(begin // parts, (end + parts - 1) // parts) as tile:
                    first = let("first_part", tirx.max(begin - tile * parts, 0))
                    last = let("last_part", tirx.min(end - tile * parts, parts))
                    self._tile(tile, first, last)
        return builder.get()

    def _declare_weight(self) -> None:
        side, schedule = self.side, self.schedule
        groups, stored = side.groups, tirx.Var("stored", "int64")
        dense = self.panels * schedule.rows * self.columns * groups
        self.values = argument("values", (tirx.Var("weights", "int64") if schedule.sparse else dense,))
        self.bounds = argument("bounds", (groups * (schedule.workers + 1),), "int32")
        if schedule.sparse or side.taps > 1:
            self.offsets = argument("offsets", (stored if schedule.sparse else self.depth,), _offset_type(side))
        if schedule.sparse:
            lists = groups * self.blocks * self.panels
            self.starts = argument("starts", (lists + 1,), "int32")
            self.order = argument("order", (lists,), "int32")

    def _allocate(self) -> None:
        span = self.schedule.span * self.tile
        self.packed = scratch("packed", self.side.packed_size)
        if self.blocks > 1 or isinstance(self.side, Tokens):
            rows = self.panels * self.schedule.rows + self.schedule.lanes
            self.sums = scratch("sums", rows * span)

    def _tile(self, tile: Expr, first: Expr, last: Expr) -> None:
        """All of Y in one group of column tiles, for the parts ``first ... last`` of the rows."""
        side, s = self.side, self.schedule
        self.group = side.begin(tile)
        begin = let("begin_panel", self.bounds[self.group * (s.workers + 1) + first])
        end = let("end_panel", self.bounds[self.group * (s.workers + 1) + last])
        with T.serial(0, self.blocks) as block:
            channels = let("channels", tirx.min(s.depth, side.group_channels - block * s.depth))
            side.pack(self.packed, block * s.depth, channels)
            with T.serial(0, side.column_tiles()) as column, T.serial(begin, end) as position:
                self._panel(block, channels, position, column)
        if isinstance(side, Tokens):
            side.finish(self.sums, begin * s.rows, tirx.min(end * s.rows, side.group_rows))

    def _panel(self, block: Expr, channels: Expr, position: Expr, column: Expr) -> None:
        """One panel times one column tile, added over one depth block."""
        s = self.schedule
        index = let("index", (self.group * self.blocks + block) * self.panels + position)
        row = let("panel_row", (self.order[index] if s.sparse else position) * s.rows)
        acc = local("acc", s.rows * self.tile)
        self._start(acc, block, row, column)
        count = channels * self.side.taps
        if s.sparse:
            begin, end = let("begin_entry", self.starts[index]), let("end_entry", self.starts[index + 1])
        else:
            begin = self.panels * (self.group * self.columns + block * self.depth) + position * count
            begin, end = let("begin_entry", begin), count
        with T.serial(begin, end) if s.sparse else T.serial(0, end) as j:
            self._multiply(acc, j if s.sparse else begin + j, self._offset(j) + column * self.tile)
        self._end(acc, block, row, column)

    def _offset(self, j: Expr) -> Expr:
        """Where in the packed tile the operand of entry j begins."""
        if self.schedule.sparse or self.side.taps > 1:
            return tirx.Cast("int32", self.offsets[j])
        return j * self.side.channel_size

    def _multiply(self, acc: Buffer, entry: Expr, offset: Expr) -> None:
        """Add one column: each vector of its operand times each of the R weights."""
        s = self.schedule
        at = let("offset", offset)
        x = [load(self.packed, None, s.lanes, at + v * s.lanes) for v in range(s.vectors)]
        if s.rows > 1:
            x = [let("x", vector) for vector in x]
        for r in range(s.rows):
            weight = let("weight", splat(self.values[entry * s.rows + r], s.lanes))
            for v in range(s.vectors):
                i = ramp((r * s.vectors + v) * s.lanes, s.lanes)
                store(acc, acc[i] + weight * x[v], i)

    def _start(self, acc: Buffer, block: Expr, row: Expr, column: Expr) -> None:
        """Begin at zero in the first depth block, else with the sums so far."""
        if self.blocks == 1:
            self._zero(acc)
            return
        with T.If(block == 0):
            with T.Then():
                self._zero(acc)
            with T.Else():
                for i, at in self._vectors(row, column):
                    store(acc, load(self.sums, None, self.schedule.lanes, at), ramp(i, self.schedule.lanes))

    def _end(self, acc: Buffer, block: Expr, row: Expr, column: Expr) -> None:
        """Hand complete sums to the output, keep others."""
        side = self.side
        if isinstance(side, Tokens):
            self._keep(acc, row, column)
        elif self.blocks == 1:
            side.store_panel(acc, row, column)
        else:
            with T.If(block == self.blocks - 1):
                with T.Then():
                    side.store_panel(acc, row, column)
                with T.Else():
                    self._keep(acc, row, column)

    def _keep(self, acc: Buffer, row: Expr, column: Expr) -> None:
        lanes = self.schedule.lanes
        for i, at in self._vectors(row, column):
            put(self.sums, acc[ramp(i, lanes)], None, lanes, at)

    def _zero(self, acc: Buffer) -> None:
        lanes = self.schedule.lanes
        for i in range(0, self.schedule.rows * self.tile, lanes):
            store(acc, splat(0.0, lanes), ramp(i, lanes))

    def _vectors(self, row: Expr, column: Expr) -> list[tuple[int, Expr]]:
        """For each vector of a panel's sums, its index there and in the array of sums of the tile."""
        span = self.schedule.span * self.tile
        return [
            (r * self.tile + v, (row + r) * span + column * self.tile + v)
            for r in range(self.schedule.rows)
            for v in range(0, self.tile, self.schedule.lanes)
        ]

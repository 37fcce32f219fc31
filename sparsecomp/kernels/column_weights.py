"""The weights of the column kernel as its arguments: values, offsets of their operands, and where panels begin."""

import numpy as np
import numpy.typing as npt

from sparsecomp.formats.panels import PackedPanels, Panels
from sparsecomp.kernels.geometry import row_lanes
from sparsecomp.kernels.pixels import Pixels
from sparsecomp.kernels.problem import ConvProblem, Problem
from sparsecomp.kernels.schedule import ColumnSchedule
from sparsecomp.kernels.shares import divide
from sparsecomp.kernels.tokens import Tokens

OFFSET_BITS = 16
WORDS = {2: "int32", 4: "int64"}  # which type holds the offsets of a slice, by the number of its panels
Array = npt.NDArray[np.generic]


def pack(weight: Array, problem: Problem, schedule: ColumnSchedule) -> tuple[Array, ...]:
    """The weight, ``[out, in]`` or OIHW, as the arguments ``values, bounds[, offsets][, starts, order[, rows]]``."""
    side = side_of(problem, schedule)
    parts, depth = divide(problem, schedule).parts, schedule.depth * side.taps
    form = Panels(schedule.rows, depth, schedule.sparse, parts, schedule.slice, schedule.clustered)
    matrix = weight.reshape(side.groups, side.group_rows, side.group_channels * side.taps)
    groups = [form.pack(group) for group in matrix]
    values = np.concatenate([g.values.ravel() for g in groups] or [np.zeros(0, np.float32)])
    bounds = np.concatenate([g.bounds for g in groups])
    arrays: list[Array] = [_filled(np.append(values, np.zeros(read_beyond(side), np.float32))), bounds]
    if not schedule.sparse:
        return (*arrays, _offsets(side, np.arange(form.depth))) if side.step is None else tuple(arrays)
    order = np.concatenate([g.order.ravel() for g in groups])
    offsets = _offsets(side, np.concatenate([g.columns.ravel() for g in groups]))
    rows = [np.concatenate([g.rows for g in groups])] if schedule.clustered else []
    stored = offsets.view(WORDS[schedule.slice]) if in_words(side) else offsets
    return (*arrays, _filled(stored), _starts(groups), order, *rows)


def read_beyond(side: Pixels | Tokens) -> int:
    """How many values behind the weights are read, since the rows of a panel are loaded as a vector for a tail."""
    rows = side.schedule.rows
    return row_lanes(rows) - rows if side.tail else 0


def _filled(array: Array) -> Array:
    """The array, or one zero where it has no elements: no tensor of a program is empty."""
    return array if array.size else np.zeros(1, array.dtype)


def _starts(groups: list[PackedPanels]) -> npt.NDArray[np.int32]:
    """The starts of all groups in one list: they follow one another, so that an end is the next start."""
    stored = np.cumsum([0, *(len(g.columns) for g in groups)])
    parts = [g.starts[:-1] + first for g, first in zip(groups, stored, strict=False)]
    return np.concatenate([*parts, stored[-1:]]).astype(np.int32)


def _offsets(side: Pixels | Tokens, columns: npt.NDArray[np.integer]) -> Array:
    """Where the operand of each column (channel, tap) begins, in units of the side."""
    channel, tap = columns // side.taps, columns % side.taps
    offsets: Array = (channel * side.channel_size + np.array(side.offsets)[tap]) // side.unit
    return offsets.astype(offset_type(side))


def offset_type(side: Pixels | Tokens) -> str:
    """Of an offset: the smallest that holds all of them."""
    largest = side.schedule.depth * side.channel_size // side.unit
    return "uint16" if largest <= 1 << 16 else "int32"


def in_words(side: Pixels | Tokens) -> bool:
    """Whether the offsets of a slice are one number, so that one load fetches them; the first is in its lowest bits."""
    schedule = side.schedule
    return schedule.sparse and schedule.slice in WORDS and offset_type(side) == f"uint{OFFSET_BITS}"


def side_of(problem: Problem, schedule: ColumnSchedule) -> Pixels | Tokens:
    """How tiles of the input are packed, and of the output stored."""
    return Pixels(problem, schedule) if isinstance(problem, ConvProblem) else Tokens(problem, schedule)

"""Where a convolution finds its operands: the columns of the product, and the packed planes that hold them.

The columns of ``Y = W X`` are the output pixels, row after row. X is packed into planes of consecutive columns; the
weight of channel c and tap t multiplies the plane of (c, t) from an offset on. There are two ways:

- expanded: each tap has its own plane, shifted already, so that loads are aligned;
- shared: the taps of one phase of the stride share a plane. Its rows are ``pitch`` apart, with enough zeros between
  them to be the right padding of one row and the left padding of the next; the ``pitch - out_width`` columns between
  two output rows are computed and not stored.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

from sparsecomp.kernels.emit import CACHE_FLOATS, spread
from sparsecomp.kernels.problem import ConvProblem, Problem
from sparsecomp.kernels.schedule import ColumnSchedule, WinogradSchedule
from sparsecomp.targets.base import Target

MOST_TAPS = 49  # of a window; all of them are written out
PAGE = 4096  # bytes, after which addresses have the same set of the L1 cache again
MOST_IN_TAIL = 4  # columns, each of which takes a register; more fill a vector well enough


@dataclass(frozen=True)
class Geometry:
    """The planes of one convolution.

    Attributes:
        pitch: columns from one output row to the next.
        columns: columns of the whole product.
        first: which column is at the start of a plane, relative to the first column of the tile.
        plane: float32 values of a plane.
        row_shifts, column_shifts: input row and column of output pixel (0, 0), for each row and column of planes.
        offsets: for each tap, where in the planes of its channel its operand begins.
    """

    pitch: int
    columns: int
    first: int
    plane: int
    row_shifts: tuple[int, ...]
    column_shifts: tuple[int, ...]
    offsets: tuple[int, ...]

    @property
    def channel(self) -> int:
        """Float32 values from one channel to the next: those of all planes, and some where they shared cache sets."""
        planes = len(self.row_shifts) * len(self.column_shifts)
        size = self.plane * planes
        crowded = planes > 1 and size % (8 * CACHE_FLOATS) == 0
        return spread(size) if crowded else size

    @property
    def step(self) -> int | None:
        """Float32 values from the operand of one column of weights to that of the next, if they are always as many."""
        steps = {after - before for before, after in pairwise((*self.offsets, self.channel))}
        return steps.pop() if len(steps) == 1 else None


def flatten(problem: ConvProblem) -> ConvProblem:
    """A 1x1 convolution without stride or padding sees an image as one long row."""
    if problem.kernel != (1, 1) or problem.stride != (1, 1) or any(problem.padding):
        return problem
    fields = {**problem.__dict__, "height": 1, "width": problem.height * problem.width}
    return ConvProblem(**fields)


def geometry(problem: ConvProblem, schedule: ColumnSchedule) -> Geometry:
    """The planes for this convolution and schedule."""
    tile = schedule.span * schedule.vectors * schedule.lanes
    rows = [r * problem.dilation[0] - problem.padding[0] for r in range(problem.kernel[0])]
    columns = [c * problem.dilation[1] - problem.padding[2] for c in range(problem.kernel[1])]
    if not schedule.expand:
        return _shared(problem, rows, columns, tile, schedule.lanes)
    return Geometry(
        pitch=problem.out_width,
        columns=problem.out_height * problem.out_width,
        first=0,
        plane=tile,
        row_shifts=tuple(rows),
        column_shifts=tuple(columns),
        offsets=tuple(i * tile for i in range(problem.taps)),
    )


def _shared(problem: ConvProblem, rows: list[int], columns: list[int], tile: int, lanes: int) -> Geometry:
    down, right = problem.stride
    row_phases = sorted({a % down for a in rows})
    column_phases = sorted({b % right for b in columns})
    pitch = max(_pitch(problem.width, problem.out_width, b, right) for b in columns)
    shifts = [a // down * pitch + b // right for a in rows for b in columns]
    plane = -(-(tile + max(shifts) - min(shifts)) // lanes) * lanes
    index = [
        row_phases.index(a % down) * len(column_phases) + column_phases.index(b % right) for a in rows for b in columns
    ]
    return Geometry(
        pitch=pitch,
        columns=(problem.out_height - 1) * pitch + problem.out_width,
        first=min(shifts),
        plane=plane,
        row_shifts=tuple(row_phases),
        column_shifts=tuple(column_phases),
        offsets=tuple(i * plane + shift - min(shifts) for i, shift in zip(index, shifts, strict=True)),
    )


def _pitch(width: int, out_width: int, shift: int, stride: int) -> int:
    """The least distance of rows at which reading beyond one finds zeros, and no two outputs share a column."""
    valid = -(-(width - shift % stride) // stride)
    left = max(0, -(shift // stride))
    right = max(0, out_width + shift // stride - valid)
    return max(out_width, valid + max(left, right))


def between_sets(floats: int) -> int:
    """Bytes from one set of the L1 cache in which rows that are so far apart begin to the next such set."""
    return math.gcd(PAGE, 4 * floats)


def copies_lines(problem: ConvProblem, planes: Geometry) -> bool:
    """Whether each plane is the image itself from some pixel on, but for the borders: equal pitch, no stride."""
    same = problem.stride == (1, 1) and problem.out_width == problem.width == planes.pitch
    return same and planes.first == 0


def allows_direct(problem: Problem, schedule: ColumnSchedule, target: Target) -> bool:
    """Whether x can be multiplied where it is: 1x1, whole tiles or a short tail, few channels if they share cache sets.

    The sums of a tail take registers, and are complete after one depth block.
    """
    if not isinstance(problem, ConvProblem) or flatten(problem) is problem:
        return False
    s, pixels = schedule, problem.height * problem.width
    between = between_sets(pixels)
    if between >= PAGE // 4 and s.depth * between > target.l1_bytes // 2:
        return False
    if pixels % (s.vectors * s.lanes) == 0:
        return True
    if s.sparse or s.depth != problem.in_channels // problem.groups or not pixels > s.lanes > 1:
        return False
    columns = pixels % s.lanes
    registers = panel_registers(s.rows, s.vectors) + (columns + 1 if columns else 0)
    return columns <= MOST_IN_TAIL and registers < target.vector_registers


def tail(columns: int | None, schedule: ColumnSchedule) -> int:
    """How many columns make the tail: those behind the last whole vector, where x is multiplied where it is."""
    return columns % schedule.lanes if schedule.direct and columns is not None else 0


def widths(columns: int | None, schedule: ColumnSchedule) -> tuple[tuple[int, int], ...]:
    """As how many vectors a column tile is multiplied, and how many columns of a tail; the most vectors first.

    The last tile has what is left; where the number of columns is not known, a power of two.
    """
    if columns is None:
        return ((schedule.vectors, 0), *((1 << bit, 0) for bit in reversed(range((schedule.vectors - 1).bit_length()))))
    beyond = tail(columns, schedule)
    left = -(-((columns - beyond) % (schedule.vectors * schedule.lanes)) // schedule.lanes)
    whole, last = (schedule.vectors, 0), (left or schedule.vectors, beyond)
    only = columns - beyond <= schedule.vectors * schedule.lanes
    return (last,) if only or last == whole else (whole, last)


def panel_registers(rows: int, vectors: int) -> int:
    """Vector registers of the products of a panel: its sums, its operands and a weight.

    Where it has a single vector, LLVM may load all weights of a column at once.
    """
    return rows * max(vectors, 2) + vectors + 1


def row_lanes(rows: int) -> int:
    """Lanes of a vector that holds the rows of a panel."""
    return 1 << (rows - 1).bit_length()


def suits_winograd(problem: ConvProblem) -> bool:
    """Whether Winograd's algorithm computes this convolution."""
    plain = problem.stride == problem.dilation == (1, 1) and problem.groups == 1
    return plain and problem.kernel == (3, 3) and problem.out_height > 1 and problem.out_width > 1


def suits_strips(problem: ConvProblem, strip: int) -> bool:
    """Whether the kernel that packs nothing computes this convolution, in strips of so many pixels."""
    plain = problem.dilation == (1, 1) and problem.groups == 1 and max(problem.stride) <= 2
    return plain and 1 < problem.taps <= MOST_TAPS and problem.out_width >= strip


def may_divide(problem: ConvProblem, schedule: WinogradSchedule) -> bool:
    """Whether workers can divide the tiles of a chunk: each has a vector of pixels or more of each row of its."""
    across = -(-problem.out_width // schedule.outputs)
    tiles, size, workers = schedule.rows * across, schedule.tiles, schedule.workers
    units = -(-tiles // size)
    bounds = [min(worker * units // workers * size, tiles) for worker in range(workers + 1)]

    def pixels(begin: int, end: int, row: int) -> int:
        first, last = max(begin - row * across, 0), min(end - row * across, across)
        return min(last * schedule.outputs, problem.out_width) - first * schedule.outputs

    parts = [(begin, end) for begin, end in pairwise(bounds) if end > begin]
    return all(
        pixels(begin, end, row) >= schedule.lanes
        for begin, end in parts
        for row in range(begin // across, -(-end // across))
    )


def strip_of(across: int, lanes: int) -> int:
    """How many tiles are transformed at once where there are so many: a vector, or a narrower one that takes all."""
    strip = lanes
    while strip > 4 and strip // 2 >= across:
        strip //= 2
    return strip


def tile_reach(rows: int, across: int, lanes: int) -> int:
    """How far the tiles of so many rows reach, one row after the other: the last strip may end beyond the last tile."""
    full, rest = divmod(across, lanes)
    return (rows - 1) * across + full * lanes + (strip_of(rest, lanes) if rest else 0)


def tile_vectors(rows: int, across: int, lanes: int) -> int:
    """Vectors of these tiles."""
    return -(-tile_reach(rows, across, lanes) // lanes)


def last_vectors(channels: int, schedule: WinogradSchedule) -> int:
    """Vectors of the last panel of these output channels."""
    return -(-((channels - 1) % schedule.panel + 1) // schedule.lanes)

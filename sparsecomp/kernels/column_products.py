"""The products of the column kernel: sums in registers of a slice of panels and a column tile, entry by entry."""

from dataclasses import dataclass

from tvm import tirx

from sparsecomp.kernels.column_weights import OFFSET_BITS, WORDS, in_words
from sparsecomp.kernels.emit import (
    Buffer,
    Expr,
    clear,
    each_in_all_lanes,
    let,
    load,
    local,
    prefetch,
    ramp,
    splat,
    store,
)
from sparsecomp.kernels.geometry import row_lanes
from sparsecomp.kernels.pixels import Pixels
from sparsecomp.kernels.row_output import Columns
from sparsecomp.kernels.tokens import Tokens

AHEAD_FLOATS = 1024  # between a dense weight that is used and one that is prefetched
MANY_FLOATS = 1 << 16  # so many weights may not be in the L2 cache any more; a prefetch costs as much as another load


@dataclass(frozen=True)
class Operands:
    """What is multiplied.

    Attributes:
        side: how the packed tile is laid out, and by which schedule.
        values, offsets: the weights, and where their operands begin; None where these are evenly spaced.
        packed: the tile, or x itself.
        base: where the channels of the depth block begin in it.
    """

    side: Pixels | Tokens
    values: Buffer
    offsets: Buffer | None
    packed: Buffer
    base: Expr


class Products:
    """The sums of one slice and column tile.

    Attributes:
        sums: vectors along the tile of each row, undefined at first.
        tails: of each column of the tail all rows of a panel, which are the lanes of a vector; None without a tail.
    """

    def __init__(self, operands: Operands, columns: Columns) -> None:
        s, self.operands, self.columns = operands.side.schedule, operands, columns
        self.schedule, self.tail_lanes = s, row_lanes(s.rows)
        self.sums = local("acc", s.slice * s.rows * columns.vectors * s.lanes)
        self.tails = local("tails", columns.tail * self.tail_lanes) if columns.tail else None

    def clear_tails(self) -> None:
        """Begin at zero: there is a single depth block."""
        clear(self.tails, self.columns.tail * self.tail_lanes, self.tail_lanes)

    def add(self, operand: Expr, entry: Expr) -> None:
        """Add what an entry of each panel contributes."""
        s, o, columns = self.schedule, self.operands, self.columns
        if not s.sparse and o.values.shape[0] > MANY_FLOATS:
            prefetch(o.values, entry * s.rows + AHEAD_FLOATS, level=2)
        offsets, weights = self._offsets_of(operand), self._weights_of(entry)
        starts = [o.base + offset + columns.index * (s.vectors * s.lanes) for offset in offsets]
        for c, start in enumerate(starts):
            self._multiply(c * s.rows * columns.vectors, weights[c], self._vectors(start))
        if self.tails is not None:
            self._multiply_tail(self.tails, entry * s.rows, let("behind", starts[0] + columns.vectors * s.lanes))

    def _offsets_of(self, j: Expr) -> list[Expr]:
        """Where the operand of entry j of each panel of the slice begins, counted from the base."""
        s, side, stored = self.schedule, self.operands.side, self.operands.offsets
        if stored is None:
            return [j * side.step]
        if in_words(side):
            word, mask = let("offsets", stored[j]), tirx.const((1 << OFFSET_BITS) - 1, WORDS[s.slice])
            found = [word >> (OFFSET_BITS * c) & mask for c in range(s.slice)]
        else:
            found = [stored[j * s.slice + c] for c in range(s.slice)]
        offsets = [tirx.Cast("int32", offset) for offset in found]
        return [offset * side.unit for offset in offsets] if side.unit > 1 else offsets

    def _weights_of(self, j: Expr) -> list[list[Expr]]:
        """The R weights of entry j of each panel of the slice, each in all lanes of a vector.

        Those of a slice are loaded at once: what bounds single rows is how many loads a core can do.
        """
        s, values = self.schedule, self.operands.values
        first = j * s.slice * s.rows
        if s.rows > 1 or s.slice not in WORDS or s.lanes < s.slice:
            at = [[first + c * s.rows + r for r in range(s.rows)] for c in range(s.slice)]
            return [[let("weight", splat(values[i], s.lanes)) for i in panel] for panel in at]
        return [[weight] for weight in each_in_all_lanes(load(values, None, s.slice, first), s.slice, s.lanes)]

    def _vectors(self, at: Expr) -> list[Expr]:
        """Those of the operand that begins here."""
        lanes, at = self.schedule.lanes, let("offset", at)
        x = [load(self.operands.packed, None, lanes, at + v * lanes) for v in range(self.columns.vectors)]
        return [let("x", vector) for vector in x] if self.schedule.rows > 1 else x

    def _multiply(self, first: int, weights: list[Expr], x: list[Expr]) -> None:
        """Add one column to a panel of the slice: each vector of its operand times each of the R weights."""
        lanes, sums = self.schedule.lanes, self.sums
        for r, weight in enumerate(weights):
            for v, vector in enumerate(x):
                i = ramp((first + r * len(x) + v) * lanes, lanes)
                store(sums, sums[i] + weight * vector, i)

    def _multiply_tail(self, sums: Buffer, weights: Expr, at: Expr) -> None:
        """Add one column of weights, which begins there, times the columns of the tail.

        After the other products: LLVM would take their weights from this vector, with a shuffle each.
        """
        o, lanes = self.operands, self.tail_lanes
        weight = let("weights", load(o.values, None, lanes, weights))
        for column in range(self.columns.tail):
            i = ramp(column * lanes, lanes)
            store(sums, sums[i] + weight * splat(o.packed[at + column], lanes), i)

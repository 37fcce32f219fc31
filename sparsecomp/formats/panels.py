"""Panels: the format of the row-panel kernels, from unstructured (CSR) over row blocks to dense."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class PackedPanels:
    """A matrix in panels. Entries of one panel of one depth block are neighbours.

    Attributes:
        shape: rows and columns of the matrix.
        values: float32 ``[stored, C, R]``, the R weights of each stored column.
        columns: int32 ``[stored, C]``, the column, counted from the start of its depth block.
        starts: int32 ``[blocks * slices + 1]``, where the entries of each (depth block, slice) begin.
        order: int32 ``[blocks * slices, C]``, which panels are in each slice; one past the last panel is none.
        bounds: int32 ``[parts + 1]``, the slice at which each part begins.
    """

    shape: tuple[int, int]
    values: npt.NDArray[np.float32]
    columns: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int32]
    order: npt.NDArray[np.int32]
    bounds: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Panels:
    """Rows in panels of R, columns in depth blocks; a panel stores R weights for each column that has a nonzero.

    R = 1 is CSR cut into depth blocks. With ``sparse`` off all columns are stored, as dense GEMM wants them.
    The panels fall into ``parts`` of about equally many stored entries, one for each thread; within a part and
    depth block, long panels come first, so that a loop over them rarely changes its trip count. C neighbours in that
    order make a slice, whose entries alternate; the shorter panels of a slice are filled up with zeros (SELL-C-sigma).

    Attributes:
        rows: R, rows of a panel.
        depth: columns of a depth block.
        sparse: store only columns with a nonzero.
        parts: into how many runs of neighbouring panels the matrix is divided.
        slice: C, panels of a slice.
    """

    rows: int
    depth: int
    sparse: bool = True
    parts: int = 1
    slice: int = 1

    def admits(self, weight: Array) -> bool:
        """Whether the format can hold this weight: any matrix."""
        return weight.ndim == 2

    def nbytes(self, weight: Array) -> int:
        """Bytes of the packed weight, with 16-bit columns where columns are stored."""
        packed = self.pack(weight)
        return packed.values.nbytes + (2 * packed.columns.size if self.sparse else 0)

    def pack(self, weight: Array) -> PackedPanels:
        """Pack a ``[rows, columns]`` matrix; ``unpack`` gives it back exactly."""
        blocks = self._blocks(weight)
        stored = _stored(blocks, self, weight.shape[1])
        counts = stored.sum(axis=2)
        bounds = _balance(counts.sum(axis=0).reshape(-1, self.slice).sum(axis=1), self.parts)
        order = _longest_first(counts, bounds * self.slice) if self.sparse else _as_they_are(counts)
        stored = np.take_along_axis(stored, order[:, :, None], axis=1)
        sorted_counts = np.take_along_axis(counts, order, axis=1)
        starts = np.concatenate([[0], np.cumsum(sorted_counts.reshape(-1, self.slice).max(axis=1, initial=0))])
        block, position, column = np.nonzero(stored)
        place, lane = np.divmod(block * counts.shape[1] + position, self.slice)
        entry = starts[place] + _rank(sorted_counts.ravel())
        values = np.zeros((starts[-1], self.slice, self.rows), np.float32)
        values[entry, lane] = blocks[block, order[block, position], column]
        columns = np.zeros((starts[-1], self.slice), np.int32)
        columns[entry, lane] = column
        return PackedPanels(
            shape=(weight.shape[0], weight.shape[1]),
            values=values,
            columns=columns,
            starts=starts.astype(np.int32),
            order=order.reshape(-1, self.slice).astype(np.int32),
            bounds=bounds,
        )

    def unpack(self, packed: PackedPanels) -> npt.NDArray[np.float32]:
        """The matrix that was packed."""
        rows, columns = packed.shape
        blocks = -(-columns // self.depth)
        slices = len(packed.order) // blocks
        place = np.repeat(np.arange(len(packed.order)), np.diff(packed.starts))
        column = (place // slices * self.depth)[:, None] + packed.columns
        dense = np.zeros((slices * self.slice, blocks * self.depth, self.rows), np.float32)
        np.add.at(dense, (packed.order[place], column), packed.values)  # the zeros that fill a slice are added
        return dense.transpose(0, 2, 1).reshape(-1, blocks * self.depth)[:rows, :columns]

    def _blocks(self, weight: Array) -> Array:
        """The matrix as ``[blocks, panels, depth, R]``, filled up with zeros."""
        rows, columns = weight.shape
        panels, blocks = -(-rows // (self.rows * self.slice)) * self.slice, -(-columns // self.depth)
        padded = np.pad(weight, ((0, panels * self.rows - rows), (0, blocks * self.depth - columns)))
        return padded.reshape(panels, self.rows, blocks, self.depth).transpose(2, 0, 3, 1)


def _stored(blocks: Array, form: Panels, columns: int) -> npt.NDArray[np.bool_]:
    """Which columns each panel stores: ``[blocks, panels, depth]``."""
    if form.sparse:
        return np.asarray((blocks != 0).any(axis=3))
    inside = np.arange(len(blocks) * form.depth).reshape(-1, 1, form.depth) < columns
    return np.broadcast_to(inside, blocks.shape[:3])


def _balance(load: Array, parts: int) -> npt.NDArray[np.int32]:
    """Cut a line of panels into parts of about equal load (an empty panel still costs its store)."""
    total = np.concatenate([[0], np.cumsum(load + 1)])
    cuts = np.searchsorted(total, total[-1] * np.arange(parts + 1) / parts)
    return np.asarray(cuts, np.int32)


def _longest_first(counts: Array, bounds: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """The order of the panels in each depth block: by falling count within each part."""
    part = np.searchsorted(bounds[1:-1], np.arange(counts.shape[1]), side="right")
    return np.lexsort((-counts, np.broadcast_to(part, counts.shape)), axis=1)


def _as_they_are(counts: Array) -> npt.NDArray[np.int64]:
    return np.tile(np.arange(counts.shape[1]), (len(counts), 1))


def _rank(counts: Array) -> npt.NDArray[np.int64]:
    """``0 ... count - 1`` for each of the counts, in one line."""
    return np.asarray(np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts))

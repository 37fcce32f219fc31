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
        values: float32 ``[stored, R]``, the R weights of each stored column.
        columns: int32 ``[stored]``, the column, counted from the start of its depth block.
        starts: int32 ``[blocks * panels + 1]``, where the entries of each (depth block, position) begin.
        order: int32 ``[blocks * panels]``, which panel is at each position of each depth block.
        bounds: int32 ``[parts + 1]``, the positions at which each part begins.
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
    depth block, long panels come first, so that a loop over them rarely changes its trip count.

    Attributes:
        rows: R, rows of a panel.
        depth: columns of a depth block.
        sparse: store only columns with a nonzero.
        parts: into how many runs of neighbouring panels the matrix is divided.
    """

    rows: int
    depth: int
    sparse: bool = True
    parts: int = 1

    def admits(self, weight: Array) -> bool:
        """Whether the format can hold this weight: any matrix."""
        return weight.ndim == 2

    def nbytes(self, weight: Array) -> int:
        """Bytes of the packed weight, with 16-bit columns where columns are stored."""
        stored = int(_stored(self._blocks(weight), self, weight.shape[1]).sum())
        return stored * (4 * self.rows + (2 if self.sparse else 0))

    def pack(self, weight: Array) -> PackedPanels:
        """Pack a ``[rows, columns]`` matrix; ``unpack`` gives it back exactly."""
        blocks = self._blocks(weight)
        stored = _stored(blocks, self, weight.shape[1])
        counts = stored.sum(axis=2)
        bounds = _balance(counts.sum(axis=0), self.parts)
        order = _longest_first(counts, bounds) if self.sparse else np.tile(np.arange(counts.shape[1]), (len(counts), 1))
        stored = np.take_along_axis(stored, order[:, :, None], axis=1)
        block, position, column = np.nonzero(stored)
        starts = np.concatenate([[0], np.cumsum(np.take_along_axis(counts, order, axis=1).ravel())])
        return PackedPanels(
            shape=(weight.shape[0], weight.shape[1]),
            values=blocks[block, order[block, position], column].astype(np.float32),
            columns=column.astype(np.int32),
            starts=starts.astype(np.int32),
            order=order.ravel().astype(np.int32),
            bounds=bounds,
        )

    def unpack(self, packed: PackedPanels) -> npt.NDArray[np.float32]:
        """The matrix that was packed."""
        rows, columns = packed.shape
        panels, blocks = -(-rows // self.rows), -(-columns // self.depth)
        position = np.repeat(np.arange(panels * blocks), np.diff(packed.starts))
        panel = packed.order[position]
        dense = np.zeros((panels, self.rows, blocks * self.depth), np.float32)
        dense[panel, :, position // panels * self.depth + packed.columns] = packed.values
        return dense.reshape(panels * self.rows, -1)[:rows, :columns]

    def _blocks(self, weight: Array) -> Array:
        """The matrix as ``[blocks, panels, depth, R]``, filled up with zeros."""
        rows, columns = weight.shape
        panels, blocks = -(-rows // self.rows), -(-columns // self.depth)
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

"""Which structure is already in a weight: dead slices, N:M, blocks, blocks after a permutation, duplicates."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsecomp.facts import row_classes

BLOCKS = ((32, 32), (16, 16), (8, 8), (4, 4), (16, 1), (8, 1), (4, 1), (2, 1), (1, 8), (1, 4))
"""Shapes that are looked for, the largest first."""
GROUPS = ((1, 4), (2, 4), (4, 8))
FULL = 0.95  # of the values in blocks that are stored must not be zero; of the groups must hold as many as they may
SAMPLE, PART = 64, 128  # rows, and columns, by which most structures are ruled out


@dataclass(frozen=True)
class WeightPattern:
    """The structure of one weight, seen as a matrix of outputs by inputs (taps of a convolution included).

    Attributes:
        name: in words: ``"dense"``, ``"unstructured"``, ``"2:4"``, ``"blocks of 4x1"``, ``"blocks of 4x1 after a
            permutation of the outputs"``, ``"zero slices"`` (nothing else is zero), ``"all zero"``.
        density: share of nonzeros.
        zero_outputs: outputs (rows) without a nonzero.
        zero_inputs: inputs (columns; channels of a convolution) without one.
        duplicates: outputs that are not zero and equal one before them.
    """

    name: str
    density: float
    zero_outputs: int
    zero_inputs: int
    duplicates: int

    def __str__(self) -> str:
        found = ((self.zero_outputs, "zero output"), (self.zero_inputs, "zero input"), (self.duplicates, "duplicate"))
        words = [f"{count} {what}{'s' if count > 1 else ''}" for count, what in found if count]
        name = [] if self.name == "zero slices" and words else [self.name]
        return ", ".join(name + words)


def pattern_of(weight: Tensor) -> WeightPattern:
    """The structure of a weight ``[outputs, inputs, ...]``."""
    values = weight.detach() if weight.dim() > 1 else weight.detach().reshape(1, -1)
    if not values.numel():
        return WeightPattern("dense", 1.0, 0, 0, 0)
    values = values.reshape(*values.shape[:2], -1)
    nonzero = (values != 0).movedim(1, 2)  # the inputs run fastest, as N:M counts them
    rows, inputs = nonzero.flatten(1).any(dim=1), nonzero.flatten(0, 1).any(dim=0)
    classes = row_classes(values.flatten(1))
    repeated = (classes != torch.arange(len(classes))) & rows
    return WeightPattern(
        name=_name(nonzero, rows, inputs),
        density=int(torch.count_nonzero(values)) / values.numel(),
        zero_outputs=int((~rows).sum()),
        zero_inputs=int((~inputs).sum()),
        duplicates=int(repeated.sum()),
    )


def _name(mask: Tensor, rows: Tensor, inputs: Tensor) -> str:
    """Of a mask ``[outputs, taps, inputs]``; rows and inputs are those that have a nonzero."""
    if bool(mask.all()):
        return "dense"
    if not bool(rows.any()):
        return "all zero"
    whole = bool(rows.all() & inputs.all())
    live = mask if whole else mask[rows][:, :, inputs]
    if bool(live.all()):
        return "zero slices"
    return next(_structures(mask), None) or ("unstructured" if whole else next(_structures(live), "unstructured"))


def _structures(mask: Tensor) -> Iterator[str]:
    """Names of the structures that the mask has, the most regular first."""
    few = mask[:SAMPLE]
    yield from (f"{n}:{m}" for n, m in GROUPS if _is_nm(few, n, m) and _is_nm(mask, n, m))
    matrix = mask.flatten(1)
    for rows, columns in BLOCKS:
        if _is_blocks(few.flatten(1), rows, columns) and _is_blocks(matrix, rows, columns):
            yield f"blocks of {rows}x{columns}"
    for rows in _runs(matrix) if _runs(matrix[:, :PART]) else []:
        yield f"blocks of {rows}x1 after a permutation of the outputs"


def _runs(matrix: Tensor) -> list[int]:
    """Sizes of runs, the longest first, such that nearly all rows are in runs with nonzeros in the same columns."""
    alike = row_classes(matrix.to(torch.uint8)).bincount()
    return [size for size in (8, 4, 2) if int(alike[alike % size == 0].sum()) >= FULL * len(matrix)]


def _is_nm(mask: Tensor, n: int, m: int) -> bool:
    """No group of ``m`` has more than ``n`` nonzeros and nearly all have as many: otherwise it is chance."""
    if mask.shape[-1] % m:
        return False
    counts = mask.reshape(-1, m).to(torch.uint8).sum(dim=1, dtype=torch.uint8)
    return int(counts.max()) <= n and int((counts == n).sum()) >= FULL * len(counts)


def _is_blocks(matrix: Tensor, rows: int, columns: int) -> bool:
    """Whether blocks of this shape that have a nonzero are full; not if the shape does not divide the matrix."""
    height, width = matrix.shape
    if height % rows or width % columns or (height < 2 * rows and width < 2 * columns):
        return False
    stored = matrix.reshape(height // rows, rows, width // columns, columns).any(dim=3).any(dim=1)
    return int(matrix.sum()) >= FULL * rows * columns * int(stored.sum())


def preview(weight: Tensor, most: int = 64, bins: int = 20) -> dict[str, list[str] | list[int]]:
    """What a weight, seen as a matrix of its first axis by the rest, looks like.

    Args:
        weight: of at least one axis.
        most: cells along an axis, at most; fewer where it has fewer rows or columns.
        bins: of the histogram.

    Returns:
        ``spy``: one string a row of cells, one digit a cell: ``0`` has no nonzero, ``9`` no zero, those between are
        ``ceil(8 * density)``. ``histogram``: how many rows have a density in each of ``bins`` equal parts of 0 to 1.
    """
    if not weight.numel():
        return {"spy": [], "histogram": [0] * bins}
    matrix = (weight.detach().reshape(weight.shape[0], -1) != 0).float()
    down, across = _cells(matrix.shape[0], most), _cells(matrix.shape[1], most)
    rows = matrix @ across.T
    cells = (down @ rows) / torch.outer(down.sum(dim=1), across.sum(dim=1))
    levels = torch.where(cells == 1, 9, torch.ceil(8 * cells)).to(torch.int64)
    counts = torch.histc(rows.sum(dim=1) / matrix.shape[1], bins, 0, 1).to(torch.int64)
    return {"spy": ["".join(map(str, row)) for row in levels.tolist()], "histogram": counts.tolist()}


def _cells(size: int, most: int) -> Tensor:
    """``[cells, size]``: 1 where a cell holds a row or column; runs of nearly equal length."""
    cells = min(size, most)
    owner = torch.arange(size) * cells // size
    return torch.nn.functional.one_hot(owner, cells).T.float()

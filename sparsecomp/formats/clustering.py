"""Rows whose nonzeros are in the same columns, made neighbours: a panel of such rows stores fewer columns."""

from typing import Any

import numpy as np
import numpy.typing as npt


def cluster_rows(weight: npt.NDArray[Any], size: int) -> npt.NDArray[np.int64]:
    """An order of the rows in which each run of ``size`` rows shares as many columns as a greedy choice finds.

    A run begins with the fullest row that is left and takes the rows that overlap most with it, of two that overlap
    equally the one with fewer nonzeros besides.

    Args:
        weight: ``[rows, columns]``.
        size: rows of a run; the last run has what is left.
    """
    mask = (weight != 0).astype(np.float32)
    counts = mask.sum(axis=1)
    overlap = mask @ mask.T
    gain = overlap - 0.5 * counts[None, :]
    left = np.ones(len(mask), bool)
    order: list[int] = []
    while left.any():
        first = int(np.argmax(np.where(left, counts, -1)))
        left[first] = False
        others = np.flatnonzero(left)
        best = others[np.argsort(-gain[first, others], kind="stable")[: size - 1]]
        left[best] = False
        order += [first, *best.tolist()]
    return np.array(order, np.int64)

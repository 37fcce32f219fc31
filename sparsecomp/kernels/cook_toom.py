"""Short convolutions with few multiplications: the matrices of Cook and Toom, which Winograd's algorithm uses.

``F(m, 3)`` computes m neighbouring outputs of a filter of three taps from m + 2 inputs, as ``A^T [(G g) * (B^T d)]``,
with m + 2 products instead of 3 m (Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016, section 4).
"""

from fractions import Fraction
from functools import cache
from math import prod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
TAPS = 3
# Where the polynomials are evaluated, beside infinity. Of the sets tried for four outputs these have the least error in
# float32: 1.5e-6 of the output's norm for 256 channels; 0, 1, -1, 2, -2 have 3.0e-6.
POINTS = {
    2: (Fraction(0), Fraction(1), Fraction(-1)),
    4: (Fraction(0), Fraction(3, 4), Fraction(-3, 4), Fraction(3, 2), Fraction(-3, 2)),
}


class Transforms(NamedTuple):
    """``outputs`` is A^T ``[m, m + 2]``, ``weights`` G ``[m + 2, 3]``, ``inputs`` B^T ``[m + 2, m + 2]``."""

    outputs: Matrix
    weights: Matrix
    inputs: Matrix


@cache
def transforms(outputs: int) -> Transforms:
    """The matrices of F(outputs, 3), for two or four outputs."""
    points = POINTS[outputs]
    size = outputs + TAPS - 1
    powers = [[point**i for point in points] + [Fraction(i == outputs - 1)] for i in range(outputs)]
    scales = [prod(p - q for q in points if q != p) for p in points]
    weights = [[p**j / scale for j in range(TAPS)] for p, scale in zip(points, scales, strict=True)]
    inputs = [_polynomial([q for q in points if q != p], size) for p in points]
    return Transforms(
        _array(powers),
        _array([*weights, [Fraction(j == TAPS - 1) for j in range(TAPS)]]),
        _array([*inputs, _polynomial(list(points), size)]),
    )


def _polynomial(roots: list[Fraction], size: int) -> list[Fraction]:
    """The coefficients, lowest first, of the product of ``x - root``."""
    found = [Fraction(1)]
    for root in roots:
        found = [low - root * high for low, high in zip([Fraction(0), *found], [*found, Fraction(0)], strict=True)]
    return found + [Fraction(0)] * (size - len(found))


def _array(rows: list[list[Fraction]]) -> Matrix:
    return np.array([[float(value) for value in row] for row in rows])

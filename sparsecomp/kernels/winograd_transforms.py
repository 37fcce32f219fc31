"""The transforms of Winograd's algorithm as vector code: a matrix of `cook_toom` times a column of vectors.

The points beside zero and infinity come in pairs, p and -p, whose powers differ in the sign of the odd ones only. So
what the even and the odd powers contribute is computed once for both: 12 operations for six inputs of F(4, 3), not 22.
"""

from collections.abc import Iterable, Sequence

from sparsecomp.kernels.cook_toom import Matrix
from sparsecomp.kernels.emit import Expr, let, splat


def to_points(inputs: Matrix, pixels: Sequence[Expr], lanes: int) -> list[Expr]:
    """``B^T d``: the values of a line of pixels at each point."""
    found = [_sum(zip(inputs[0], pixels, strict=True), lanes)]
    for plus, minus in zip(inputs[1:-1:2], inputs[2:-1:2], strict=True):
        even, odd = (plus + minus) / 2, (plus - minus) / 2
        point = odd[odd != 0][-1]
        same = _sum(zip(even, pixels, strict=True), lanes)
        other = _sum(zip(odd / point, pixels, strict=True), lanes)
        found += [_sum([(1.0, same), (sign * point, other)], lanes) for sign in (1, -1)]
    return [*found, _sum(zip(inputs[-1], pixels, strict=True), lanes)]


def from_points(outputs: Matrix, values: Sequence[Expr], lanes: int) -> list[Expr]:
    """``A^T m``: the outputs of a line from the products at each point."""
    first, *pairs, last = values
    even = [let("even", plus + minus) for plus, minus in zip(pairs[::2], pairs[1::2], strict=True)]
    odd = [let("odd", plus - minus) for plus, minus in zip(pairs[::2], pairs[1::2], strict=True)]
    return [
        _sum([(row[0], first), *zip(row[1:-1:2], odd if power % 2 else even, strict=True), (row[-1], last)], lanes)
        for power, row in enumerate(outputs)
    ]


def _sum(terms: Iterable[tuple[float, Expr]], lanes: int) -> Expr:
    """The sum of factors times vectors; what is only added comes first, so that each other term is an FMA."""
    total = None
    for factor, vector in sorted(terms, key=lambda term: term[0] != 1):
        if factor != 0:
            term = vector if factor == 1 else vector * splat(float(factor), lanes)
            total = term if total is None else total + term
    return let("sum", total)

"""The factors that two shapes of the same elements share: ``(b, 768)`` and ``(b, 12, 64)`` share b, 12 and 64."""

from collections.abc import Sequence
from typing import Any

Size = Any
"""An int, or a ``torch.SymInt`` that is only known at run time; these are compared as expressions, never as numbers."""


class _Axis:
    """An axis whose factors are being found, from the inside (right) and from the outside (left)."""

    def __init__(self, size: Size) -> None:
        self.rest = size
        self.outer: list[str] = []
        self.inner: list[str] = []

    def done(self) -> bool:
        return isinstance(self.rest, int) and self.rest == 1

    def take(self, name: str, factor: Size, inner: bool) -> None:
        if inner:
            self.inner.insert(0, name)
        else:
            self.outer.append(name)
        self.rest = 1 if _same(self.rest, factor) else self.rest // factor

    def names(self) -> list[str]:
        return self.outer + self.inner


def shared_factors(before: Sequence[Size], after: Sequence[Size]) -> tuple[str, str, dict[str, int]]:
    """Both shapes as operands of an axis equation over common names, and the static sizes of these.

    Axes that do not split along common factors are ``_``.
    """
    left, right = [_Axis(size) for size in before], [_Axis(size) for size in after]
    sizes: dict[str, Size] = {}
    if not any(isinstance(size, int) and size == 0 for size in before):
        _walk(left[::-1], right[::-1], sizes, inner=True)
        _walk(left, right, sizes, inner=False)
    incomplete = {name for axis in left + right if not axis.done() for name in axis.names()}
    known = {name: size for name, size in sizes.items() if isinstance(size, int)}
    return _text(left, incomplete), _text(right, incomplete), known


def _walk(one: list[_Axis], other: list[_Axis], sizes: dict[str, Size], inner: bool) -> None:
    """Give both lists common factors from the front, until an axis interleaves with those of the other shape."""
    while True:
        first = next((axis for axis in one if not axis.done()), None)
        second = next((axis for axis in other if not axis.done()), None)
        factor = _common(first.rest, second.rest) if first is not None and second is not None else None
        if first is None or second is None or factor is None:
            return
        name = f"f{len(sizes)}"
        sizes[name] = factor
        first.take(name, factor, inner)
        second.take(name, factor, inner)


def _common(one: Size, other: Size) -> Size | None:
    """The factor at this end that both axes can give up."""
    if _same(one, other):
        return one
    if not isinstance(one, int) or not isinstance(other, int):
        return None
    small, large = sorted((one, other))
    return small if large % small == 0 else None


def _same(one: Size, other: Size) -> bool:
    return type(one) is type(other) and str(one) == str(other)


def _text(axes: list[_Axis], incomplete: set[str]) -> str:
    return " ".join(
        f"({' '.join(axis.names())})" if axis.names() and not incomplete.intersection(axis.names()) else "_"
        for axis in axes
    )

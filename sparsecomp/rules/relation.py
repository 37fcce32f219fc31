"""How the axes of an operator's tensors belong together.

A `Relation` names *index variables*, as an einsum does, and links axes of the operands to them. The axis ``(h d)``
of a tensor that is about to be split into heads is linked to two variables; the result of a concatenation is linked
to one variable for each piece. One law gives all structure: **a slice exists if and only if every variable it is
linked to keeps its index**. A variable that is linked to inputs only is contracted (summed over). An axis without a
link cannot be narrowed.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from sparsecomp.rules.call import Value

ABSENT = -1


@dataclass(frozen=True, eq=False)
class Link:
    """One axis of one operand. ``parts`` holds, for each variable, the index on it of every slice, or `ABSENT`."""

    value: Value
    axis: int
    parts: tuple[tuple[str, Tensor], ...]
    role: int
    is_output: bool

    @property
    def size(self) -> int:
        """How many slices the axis has."""
        return self.parts[0][1].numel()

    def variables(self) -> set[str]:
        """The variables that the axis is linked to."""
        return {name for name, _ in self.parts}


@dataclass(frozen=True, eq=False)
class Relation:
    """All links of a call, and the size of each variable."""

    links: tuple[Link, ...]
    sizes: Mapping[str, int]

    def of_role(self, role: int, is_output: bool) -> list[Link]:
        """The links of one operand."""
        return [link for link in self.links if link.role == role and link.is_output == is_output]

    def of_input(self, value: Value, axis: int) -> list[Link]:
        """The links of an axis of a tensor that is read, one for each time that it is an operand."""
        return [k for k in self.links if not k.is_output and k.value == value and k.axis == axis]

    def contracted(self) -> set[str]:
        """Variables that no output has."""
        inputs: set[str] = set().union(*(k.variables() for k in self.links if not k.is_output))
        return inputs - set().union(*(k.variables() for k in self.links if k.is_output))


NOTHING = Relation((), {})

Axes = list[tuple[str, ...]]


def relate(
    equation: str,
    inputs: Sequence[Value | None],
    outputs: Sequence[Value | None],
    sizes: Mapping[str, int] | None = None,
) -> Relation:
    """The relation that an axis equation such as ``"... k, n k, n -> ... n"`` describes.

    Args:
        equation: operands of the call in order, one token an axis. A name is a variable, ``(a b)`` a factored axis,
            ``_`` an axis that cannot be narrowed, ``*`` any number of these, ``...`` any number of variables, aligned
            from the right and broadcast.
        inputs: the tensors, None for an optional one that is missing.
        outputs: the results.
        sizes: sizes of variables that cannot be read off the shapes.
    """
    left, right = equation.split("->")
    operands = [
        (value, role, is_output, text)
        for side, values, is_output in ((left, inputs, False), (right, outputs, True))
        for role, (text, value) in enumerate(zip(side.split(","), values, strict=True))
        if value is not None
    ]
    axes = [expand(text, len(value.shape)) for value, _, _, text in operands]
    known = _solve([(value, names) for (value, *_), names in zip(operands, axes, strict=True)], dict(sizes or {}))
    hidden = {name for names in axes for factors in names for name in set(factors) - _telling(factors, known)}
    links = [
        link
        for (value, role, is_output, _), names in zip(operands, axes, strict=True)
        for axis, factors in enumerate(names)
        if not hidden.issuperset(factors) and (link := _link(value, axis, factors, known, role, is_output)) is not None
    ]
    used: set[str] = set().union(*(link.variables() for link in links))
    return Relation(tuple(links), {name: known[name] for name in used})


def expand(text: str, rank: int) -> Axes:
    """The factors of each axis for one operand of an equation."""
    tokens = _tokens(text)
    missing = rank - sum(token not in ("...", "*") for token in tokens)
    axes: Axes = []
    for token in tokens:
        if token == "...":
            axes += [(f".{i}",) for i in reversed(range(missing))]
        elif token == "*":
            axes += [("_",)] * missing
        else:
            axes.append(tuple(token.strip("()").split()))
    assert len(axes) == rank, f"{text!r} does not describe a tensor of rank {rank}"
    return axes


@lru_cache(maxsize=4096)
def _tokens(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\([^)]*\)|\S+", text))


def index_map(position: int, factors: Sequence[int]) -> Tensor:
    """For each index of an axis factored into ``factors`` (outermost first) the index of the factor at ``position``."""
    shape = [1] * len(factors)
    shape[position] = factors[position]
    return torch.arange(factors[position]).reshape(shape).expand(*factors).reshape(-1)


def _solve(operands: list[tuple[Value, Axes]], sizes: dict[str, int]) -> dict[str, int]:
    """Sizes of all variables that have one; those of symbolic size have none."""
    symbolic: set[str] = set()
    for value, axes in operands:
        for axis, factors in enumerate(axes):
            size = value.size(axis)
            if size is None:
                symbolic.update(factors)
            elif len(factors) == 1:
                sizes[factors[0]] = max(size, sizes.get(factors[0], size))
    for value, axes in operands:
        for axis, factors in enumerate(axes):
            unknown = [name for name in factors if name not in sizes]
            size = value.size(axis)
            if len(factors) > 1 and len(unknown) == 1 and size is not None:
                rest = 1
                for name in factors:
                    rest *= sizes.get(name, 1)
                sizes[unknown[0]] = size // max(rest, 1)
    return {name: size for name, size in sizes.items() if name not in symbolic and name != "_"}


def _telling(factors: tuple[str, ...], sizes: dict[str, int]) -> set[str]:
    """A factor of size one ties nothing together, so it is left out where there are others.

    An axis that has only factors which are left out elsewhere gets no link: it would seem tied to nothing.
    """
    return {name for name in factors if sizes.get(name, 0) != 1} or set(factors[-1:])


def _link(
    value: Value, axis: int, factors: tuple[str, ...], sizes: dict[str, int], role: int, out: bool
) -> Link | None:
    if not factors or any(name not in sizes for name in factors):
        return None
    shape = [sizes[name] for name in factors]
    if math.prod(shape) != value.size(axis):
        return None
    telling = _telling(factors, sizes)
    parts = tuple((name, index_map(i, shape)) for i, name in enumerate(factors) if name in telling)
    return Link(value, axis, parts, role, out)

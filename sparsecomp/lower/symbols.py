"""Sizes: from torch's symbolic integers (sympy) to TVM's integer expressions."""

from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any

import sympy
import torch
from torch import fx
from torch.utils._sympy import functions
from tvm import relax, tirx


class Symbols:
    """The TVM variable of each symbolic size, read off the inputs of the function that is being built.

    Args:
        inputs: each placeholder with the Relax variable that stands for it.
    """

    def __init__(self, inputs: Iterable[tuple[fx.Node, relax.Var]]) -> None:
        self._variables: dict[sympy.Symbol, Any] = {}
        for node, variable in inputs:
            value = node.meta.get("val")
            if isinstance(value, torch.Tensor):
                for size, dim in zip(value.shape, variable.ty.shape.values, strict=True):
                    self._bind(size, dim)

    def _bind(self, size: int | torch.SymInt, dim: Any) -> None:
        expression = _expression(size)
        if isinstance(expression, sympy.Symbol):
            self._variables.setdefault(expression, dim)

    def dim(self, size: int | torch.SymInt) -> Any:
        """One size: an ``int`` where it is known, else a TVM expression of type int64."""
        if isinstance(size, int):
            return size
        return self._convert(_expression(size))

    def dims(self, shape: Iterable[int | torch.SymInt]) -> list[Any]:
        """Each size of a shape."""
        return [self.dim(size) for size in shape]

    def _convert(self, expression: Any) -> Any:
        if expression.is_Integer:
            return tirx.IntImm("int64", int(expression))
        if expression.is_Symbol:
            if expression not in self._variables:
                raise NotImplementedError(
                    f"{expression} is no size of an input by itself, only a part of one such as 2*{expression}; "
                    "let the size vary freely, or fix it"
                )
            return self._variables[expression]
        combine = _FUNCTIONS.get(expression.func)
        if combine is None:
            raise NotImplementedError(f"size {expression}: {expression.func.__name__} has no translation")
        return reduce(combine, (self._convert(argument) for argument in expression.args))


def _expression(size: int | torch.SymInt) -> Any:
    return sympy.Integer(size) if isinstance(size, int) else size.node.expr


def _power(base: Any, exponent: Any) -> Any:
    return reduce(lambda product, _: product * base, range(int(exponent) - 1), base)


_FUNCTIONS: dict[Any, Callable[[Any, Any], Any]] = {
    sympy.Add: lambda a, b: a + b,
    sympy.Mul: lambda a, b: a * b,
    sympy.Pow: _power,
    sympy.Min: tirx.min,
    sympy.Max: tirx.max,
    functions.Min: tirx.min,
    functions.Max: tirx.max,
    functions.FloorDiv: tirx.floordiv,
    functions.CleanDiv: tirx.floordiv,
    functions.CeilDiv: lambda a, b: tirx.floordiv(a + b - 1, b),
    functions.IntTrueDiv: tirx.floordiv,
    functions.Mod: tirx.floormod,
    functions.PythonMod: tirx.floormod,
    functions.Identity: lambda a, _: a,
}

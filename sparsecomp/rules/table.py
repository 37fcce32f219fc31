"""The facts of every tensor of a graph, and what a rule may ask of them."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from sparsecomp.facts import AxisFacts, TensorFacts
from sparsecomp.rules.call import Value, data_of

Described = TypeVar("Described")


class FactTable:
    """Facts by tensor and axis. Those of parameters and buffers are read off their elements when first asked for."""

    def __init__(self, module: GraphModule) -> None:
        self.module = module
        self._axes: dict[tuple[Value, int], AxisFacts | None] = {}
        self._finite: dict[Value, bool] = {}
        self._descriptions: dict[Node, Any] = {}

    def record(self, value: Value, facts: TensorFacts) -> None:
        """Enter what a rule found out of a tensor."""
        for axis, found in enumerate(facts):
            self._axes[value, axis] = found if found is not None and found.says_something() else None

    def once(self, node: Node, describe: Callable[[], Described]) -> Described:
        """What ``describe`` says of a call, asked for once only: reading a large weight takes time."""
        if node not in self._descriptions:
            self._descriptions[node] = describe()
        found: Described = self._descriptions[node]
        return found

    def data(self, value: Value) -> Tensor | None:
        """The elements, if they are known at compile time."""
        return data_of(self.module, value)

    def axis(self, value: Value, axis: int) -> AxisFacts | None:
        """What is known of the slices along ``axis``; None if nothing is."""
        axis %= max(len(value.shape), 1)
        if (value, axis) not in self._axes:
            data = self.data(value)
            found = AxisFacts.of_tensor(data, axis) if data is not None else None
            self._axes[value, axis] = found if found is not None and found.says_something() else None
        return self._axes[value, axis]

    def known(self, value: Value, axis: int) -> AxisFacts:
        """As `axis`, with "nothing is known" spelled out. The axis has a static size."""
        size = value.size(axis)
        assert size is not None, f"axis {axis} of {value.node.name} has no static size"
        return self.axis(value, axis) or AxisFacts.unknown(size, value.dtype)

    def uniform(self, value: Value) -> Tensor | None:
        """The one number (0-d) that fills the whole tensor, if there is one."""
        data = self.data(value)
        if data is not None and data.numel() == 1:
            return None if bool(data.isnan().any()) else data.reshape(())
        for axis in range(len(value.shape)):
            found = self.axis(value, axis)
            if found is not None and (number := found.uniform()) is not None:
                return number
        return None

    def solved(self, value: Value) -> tuple[int, AxisFacts] | None:
        """An axis whose every slice is constant, so that the whole tensor is known."""
        for axis in range(len(value.shape)):
            found = self.axis(value, axis)
            if found is not None and found.size and bool(found.constant.all()):
                return axis, found
        return None

    def finite(self, value: Value) -> bool:
        """Whether the elements are finite: assumed of activations (docs/adding-a-rule.md), checked for parameters."""
        if value not in self._finite:
            data = self.data(value)
            number = self.uniform(value) if data is None else None
            checked = data if data is not None else number
            self._finite[value] = checked is None or bool(torch.isfinite(checked).all())
        return self._finite[value]

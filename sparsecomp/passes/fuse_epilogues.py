"""What follows a linear or convolution becomes part of it, so that its result is written to memory once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

import sparsecomp.ops  # noqa: F401  registers torch.ops.sparsecomp
from sparsecomp.program import Program, arguments

aten = torch.ops.aten


@dataclass
class _Chain:
    """A linear or convolution and the nodes after it that it can absorb."""

    head: fx.Node
    last: fx.Node
    residual: fx.Node | None = None
    activation: tuple[str, float, float] | None = None
    residual_last: bool = False
    absorbed: list[fx.Node] = field(default_factory=list)


@dataclass(frozen=True)
class FuseEpilogues:
    """Absorb the residual and the activation after each linear and convolution.

    Before: ``y = relu(conv2d(x, w, b) + r)``. After: ``y = sparsecomp.conv(x, w, b, r, ..., "relu")``. Every linear and
    1-D or 2-D convolution with a weight of the program becomes the operator of ours, absorbed or not, so that the
    kernels have one form to look for.
    """

    name: str = "fuse-epilogues"

    def apply(self, program: Program) -> bool:
        """See the class."""
        changed = False
        for head in program.calls(aten.linear.default, aten.conv1d.default, aten.conv2d.default):
            if program.is_weight(head.args[1]) and _is_plain(head):
                _replace(program, _grow(_Chain(head, head)))
                changed = True
        return changed


def _is_plain(head: fx.Node) -> bool:
    """Float32 throughout, bias an argument, no padding by name."""
    values = [head.meta["val"], *(source.meta["val"] for source in head.all_input_nodes)]
    return not head.kwargs and all(value.dtype == torch.float32 for value in values)


def _grow(chain: _Chain) -> _Chain:
    while len(chain.last.users) == 1:
        (user,) = chain.last.users
        activation = _activation(user)
        residual = _residual(user, chain.last)
        if activation is not None and chain.activation is None and not chain.residual_last:
            chain.activation = activation
        elif residual is not None and chain.residual is None:
            chain.residual, chain.residual_last = residual, chain.activation is not None
        else:
            break
        chain.absorbed.append(user)
        chain.last = user
    return chain


def _activation(node: fx.Node) -> tuple[str, float, float] | None:
    read = _ACTIVATIONS.get(node.target)
    return None if read is None else read(node)


def _residual(node: fx.Node, value: fx.Node) -> fx.Node | None:
    """The other operand of an addition of two tensors of one type."""
    if node.target is not aten.add.Tensor or node.kwargs or len(node.args) != 2:
        return None
    left, right = node.args
    other = right if left is value else left
    if not isinstance(other, fx.Node) or other is value or not isinstance(other.meta["val"], torch.Tensor):
        return None
    same = [str(size) for size in other.meta["val"].shape] == [str(size) for size in value.meta["val"].shape]
    return other if same and other.meta["val"].dtype == torch.float32 else None


def _replace(program: Program, chain: _Chain) -> None:
    head, (name, low, high) = chain.head, chain.activation or ("", 0.0, 0.0)
    given = arguments(head)
    operands = (given["input"], given["weight"], given["bias"], chain.residual)
    tail = (name, low, high, chain.residual_last)
    with program.graph.inserting_before(chain.last):
        if head.target is aten.linear.default:
            fused = program.graph.call_function(torch.ops.sparsecomp.linear.default, (*operands, *tail))
        else:
            geometry = (*_geometry(head, given), given["groups"])
            fused = program.graph.call_function(torch.ops.sparsecomp.conv.default, (*operands, *geometry, *tail))
    fused.meta = {**head.meta, "val": chain.last.meta["val"]}
    chain.last.replace_all_uses_with(fused)
    for node in reversed([head, *chain.absorbed]):
        program.graph.erase_node(node)


def _geometry(head: fx.Node, given: dict[str, Any]) -> list[list[int]]:
    """Stride, padding and dilation, one number an axis."""
    rank = head.meta["val"].dim() - 2
    values = [given[name] for name in ("stride", "padding", "dilation")]
    return [list(value) * rank if len(value) == 1 else list(value) for value in values]


def _named(name: str) -> Callable[[fx.Node], tuple[str, float, float] | None]:
    return lambda node: (name, 0.0, 0.0) if len(node.args) == 1 and not node.kwargs else None


def _gelu(node: fx.Node) -> tuple[str, float, float]:
    return ("gelu_tanh" if arguments(node)["approximate"] == "tanh" else "gelu", 0.0, 0.0)


def _clamp(node: fx.Node) -> tuple[str, float, float] | None:
    given = arguments(node)
    low, high = (given["min_val"], given["max_val"]) if "min_val" in given else (given["min"], given["max"])
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return None
    return ("relu6", 0.0, 0.0) if (low, high) == (0, 6) else ("clamp", float(low), float(high))


_ACTIVATIONS: dict[object, Callable[[fx.Node], tuple[str, float, float] | None]] = {
    aten.relu.default: _named("relu"),
    aten.relu6.default: _named("relu6"),
    aten.sigmoid.default: _named("sigmoid"),
    aten.tanh.default: _named("tanh"),
    aten.silu.default: _named("silu"),
    aten.hardswish.default: _named("hardswish"),
    aten.hardsigmoid.default: _named("hardsigmoid"),
    aten.gelu.default: _gelu,
    aten.hardtanh.default: _clamp,
    aten.clamp.default: _clamp,
}

"""A program as text: one line a node, the same for every run."""

from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from sparsecomp.program import Program

_DTYPES = {
    torch.float32: "f32",
    torch.float64: "f64",
    torch.float16: "f16",
    torch.bfloat16: "bf16",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.int16: "i16",
    torch.int8: "i8",
    torch.uint8: "u8",
    torch.bool: "bool",
}


def to_text(program: Program) -> str:
    """The graph as text: ``%name: f32[1, 64] = aten.relu.default(%x)`` for each node, in order."""
    return "\n".join(_line(node) for node in program.graph.nodes) + "\n"


def _line(node: fx.Node) -> str:
    if node.op == "output":
        return f"return {_argument(tuple(pytree.tree_leaves(node.args[0])))}"
    head = f"%{node.name}: {type_text(node.meta.get('val'))}"
    if node.op == "placeholder":
        return f"{head} = input"
    if node.op == "get_attr":
        return f"{head} = weight {node.target}"
    arguments = [_argument(arg) for arg in node.args]
    arguments += [f"{key}={_argument(value)}" for key, value in node.kwargs.items()]
    return f"{head} = {target_text(node)}({', '.join(arguments)})"


def type_text(value: Any) -> str:
    """``f32[1, 64]`` for a tensor, its value for a size, a tuple of these for a tuple."""
    if isinstance(value, torch.Tensor):
        return f"{_DTYPES.get(value.dtype, str(value.dtype))}[{', '.join(str(size) for size in value.shape)}]"
    if isinstance(value, tuple | list):
        return f"({', '.join(type_text(item) for item in value)})"
    return str(value)


def target_text(node: fx.Node) -> str:
    """The operator of a call: ``aten.relu.default``, ``getitem``."""
    target: Any = node.target
    return str(target) if isinstance(target, torch._ops.OpOverload) else str(getattr(target, "__name__", target))


def _argument(value: Any) -> str:
    if isinstance(value, fx.Node):
        return f"%{value.name}"
    if isinstance(value, tuple | list):
        inner = ", ".join(_argument(item) for item in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    return repr(value)

"""Operators of the user that nobody can translate run in torch: the compiled program calls back.

Such an operator is opaque to every pass (all of it is needed, nothing is known of its result). It costs a call of
Python, and a program with one cannot be saved, because what it calls exists only in this process.
"""

from typing import Any

import torch
import tvm
from torch import fx
from torch.utils import _pytree as pytree
from torch.utils.dlpack import from_dlpack
from tvm import relax

from sparsecomp.lower.context import Context
from sparsecomp.program import Program

_OURS = ("aten", "prim", "prims", "sparsecomp")


def is_callback(node: fx.Node) -> bool:
    """Whether the node is a custom operator of tensors and plain values that gives one tensor."""
    if not isinstance(node.target, torch._ops.OpOverload) or node.target.namespace in _OURS:
        return False
    tensors = all(isinstance(source.meta.get("val"), torch.Tensor) for source in node.all_input_nodes)
    return tensors and bool(node.all_input_nodes) and isinstance(node.meta.get("val"), torch.Tensor)


def callbacks(program: Program) -> tuple[str, ...]:
    """The custom operators of a program, by node."""
    return tuple(f"{node.target} in node {node.name}" for node in program.calls() if is_callback(node))


def call_back(node: fx.Node, context: Context) -> relax.Var:
    """A call of the operator from compiled code.

    The function is found by a name that says all of the call but its tensors, so equal calls share one.
    """
    tensors = node.all_input_nodes
    places = {source: _Place(index) for index, source in enumerate(tensors)}
    args, kwargs = pytree.tree_map_only(fx.Node, places.__getitem__, (node.args, node.kwargs))

    def function(*arrays: Any) -> None:
        *inputs, output = (from_dlpack(array) for array in arrays)
        given = pytree.tree_map_only(_Place, lambda place: inputs[place.index], (args, kwargs))
        assert callable(node_target)
        with torch.no_grad():
            output.copy_(node_target(*given[0], **given[1]))

    node_target = node.target
    name = f"sparsecomp.callback.{node_target}{args}{kwargs}"
    tvm.register_global_func(name, function, override=True)
    values = [context.value(source) for source in tensors]
    return context.emit(relax.call_dps_packed(name, values, out_ty=context.type_of(node.meta["val"])))


class _Place:
    """Stands for the tensor at ``index``."""

    def __init__(self, index: int) -> None:
        self.index = index

    def __repr__(self) -> str:
        return f"%{self.index}"

"""Compute now what does not depend on the inputs."""

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from sparsecomp.program import Program


@dataclass(frozen=True)
class FoldConstants:
    """Replace nodes that depend on weights and plain numbers alone by their value.

    Before: ``p = arange(128); e = embedding(table, p); y = x + e``. After: ``y = x + e`` with ``e`` a weight. A result
    is kept as it is where it would cost memory: more than ``limit`` bytes and more than its inputs together.

    Attributes:
        limit: bytes below which a folded value may be larger than what it is made of.
    """

    limit: int = 1 << 20
    name: str = "fold-constants"

    def apply(self, program: Program) -> bool:
        """See the class."""
        values: dict[fx.Node, Any] = {}
        for node in program.graph.nodes:
            if node.op == "get_attr":
                values[node] = program.weight(node)
            elif self._is_foldable(node, values):
                values[node] = _evaluate(node, values)
        return _materialise(program, values)

    def _is_foldable(self, node: fx.Node, values: dict[fx.Node, Any]) -> bool:
        if node.op != "call_function" or not all(source in values for source in node.all_input_nodes):
            return False
        if node.target is operator.getitem:
            return True
        if not isinstance(node.target, torch._ops.OpOverload) or node.target.namespace != "aten":
            return False
        if torch.Tag.nondeterministic_seeded in node.target.tags or _is_symbolic(node):
            return False
        return _nbytes(node.meta["val"]) <= max(self.limit, sum(_nbytes(values[n]) for n in node.all_input_nodes))


def _is_symbolic(node: fx.Node) -> bool:
    tensors = [leaf for leaf in pytree.tree_leaves(node.meta["val"]) if isinstance(leaf, torch.Tensor)]
    return not tensors or any(not isinstance(size, int) for tensor in tensors for size in tensor.shape)


def _nbytes(value: Any) -> int:
    tensors = [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _evaluate(node: fx.Node, values: dict[fx.Node, Any]) -> Any:
    args, kwargs = pytree.tree_map_only(fx.Node, values.__getitem__, (node.args, node.kwargs))
    assert callable(node.target)
    with torch.no_grad():
        return node.target(*args, **kwargs)


def _materialise(program: Program, values: dict[fx.Node, Any]) -> bool:
    """Turn each folded tensor that a node that stays reads into a weight; what parameters made is a parameter."""
    changed = False
    trained: set[fx.Node] = set()
    for node, value in values.items():
        if program.is_trained(node) or any(source in trained for source in node.all_input_nodes):
            trained.add(node)
        staying = [user for user in node.users if user not in values]
        if node.op == "get_attr" or not staying or not isinstance(value, torch.Tensor):
            continue
        learns = node in trained and value.is_floating_point()
        weight = program.add_weight(node.name, value.contiguous().clone(), node, trained=learns)
        node.replace_all_uses_with(weight, delete_user_cb=lambda user: user not in values)
        changed = True
    return changed

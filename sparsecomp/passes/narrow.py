"""Writing a graph with fewer slices, once it is known which ones stay."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from sparsecomp.program import Program
from sparsecomp.rules.call import Value
from sparsecomp.rules.coupling import Coupling
from sparsecomp.rules.propagate import Application


class Narrowing:
    """The cut that a `Coupling` allows, for the program that it was made from (see `sparsecomp.rules.base.Cut`)."""

    def __init__(self, program: Program, coupling: Coupling) -> None:
        self.program = program
        self.coupling = coupling
        self.facts = coupling.table

    def apply(self) -> bool:
        """Rewrite all calls, then narrow all parameters. ``meta["val"]`` is that of the old shapes until ``finish``."""
        calls = [application for application in self.coupling.calls.values() if self._touches(application)]
        weights = [node for node in self.program.graph.nodes if node.op == "get_attr" and self._narrows(Value(node))]
        for application in calls:
            call, rule = application.call, application.rule
            assert rule is not None, f"{call.node.name} has no rule, so that all of it stays"
            rule.narrow(call, application.relation, self, self.coupling.kept_variables(call.node))
        for node in weights:
            self._narrow_weight(node)
        return bool(weights or calls)

    def kept(self, value: Value, axis: int) -> Tensor | None:
        """Indices (int64, ascending) that stay of an axis; None if all of them do."""
        mask = self.coupling.kept(value, axis)
        return None if mask is None or bool(mask.all()) else mask.nonzero().flatten()

    def indices(self, value: Value, axis: int) -> Tensor:
        """As `kept`, for an axis of static size, with all indices spelled out."""
        kept = self.kept(value, axis)
        return torch.arange(int(value.shape[axis])) if kept is None else kept

    def size(self, value: Value, axis: int) -> int | torch.SymInt:
        """New size of an axis."""
        kept = self.kept(value, axis)
        return value.shape[axis] if kept is None else len(kept)

    def constant(self, near: Node, name: str, data: Tensor) -> Node:
        """A new constant of the module, as a node before ``near``; what bias it holds can be trained."""
        return self.program.add_weight(f"{near.name}_{name}", data, near, trained=data.is_floating_point())

    def replace(self, value: Value, data: Tensor) -> None:
        """New elements, of the shape before the cut, for a parameter that only this call reads."""
        set_weight(self.program, value.node, data)

    def append(self, value: Value, target: Any, *arguments: Any) -> None:
        """Let every reader of ``value`` read ``target(value, *arguments)`` instead."""
        with self.program.graph.inserting_after(value.node):
            after = self.program.graph.call_function(target, (value.node, *arguments))
        after.meta = dict(value.node.meta)
        value.node.replace_all_uses_with(after, delete_user_cb=lambda user: user is not after)

    def _touches(self, application: Application) -> bool:
        node = application.call.node
        variables = (self.coupling.variables[node, name] for name in application.relation.sizes)
        tensors = {*application.call.inputs, *application.call.outputs}
        return any(bool((causes == 0).any()) for causes in variables) or any(self._narrows(value) for value in tensors)

    def _narrows(self, value: Value) -> bool:
        return any(self.kept(value, axis) is not None for axis in range(len(value.shape)))

    def _narrow_weight(self, node: Node) -> None:
        data = self.program.weight(node)
        for axis in range(data.dim()):
            kept = self.kept(Value(node), axis)
            if kept is not None:
                data = data.index_select(axis, kept)
        set_weight(self.program, node, data)


def set_weight(program: Program, node: Node, data: Tensor) -> None:
    """Give the tensor behind a ``get_attr`` node new elements. A parameter stays one, so that it can be trained."""
    path, _, name = str(node.target).rpartition(".")
    owner = program.module.get_submodule(path)
    old = getattr(owner, name)
    trained = isinstance(old, nn.Parameter)
    setattr(owner, name, nn.Parameter(data, requires_grad=old.requires_grad) if trained else data)

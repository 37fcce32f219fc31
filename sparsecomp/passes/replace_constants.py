"""Tensors that are known without running anything: what they are added to reads a constant instead."""

from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from sparsecomp.facts import AxisFacts
from sparsecomp.program import Program
from sparsecomp.rules.base import RULES
from sparsecomp.rules.call import Value, value_of
from sparsecomp.rules.pointwise import broadcast
from sparsecomp.rules.table import FactTable

aten = torch.ops.aten
_NEUTRAL = {aten.add.Tensor: 0, aten.sub.Tensor: 0, aten.mul.Tensor: 1, aten.div.Tensor: 1}
_COMMUTES = (aten.add.Tensor, aten.mul.Tensor)


def replace_constants(program: Program, table: FactTable) -> list[Value]:
    """Replace every computed tensor whose slices are all constant, where something that is not constant reads it.

    Operators that broadcast read the constant in its smallest shape, or disappear if it changes nothing; all others
    read it expanded. What only computed it is left dead. Returns what was replaced.
    """
    replaced: list[Value] = []
    for node in list(program.graph.nodes):
        value = value_of(node)
        if node.op != "call_function" or value is None or (found := table.solved(value)) is None:
            continue
        readers = [user for user in node.users if not _is_known(user, table) and not _is_constant(node)]
        constant = _smallest(value, *found)
        if sum(_replace_in(program, node, user, constant) for user in readers):
            replaced.append(value)
    return replaced


def _is_known(user: Node, table: FactTable) -> bool:
    value = value_of(user)
    return value is not None and table.solved(value) is not None


def _is_constant(node: Node) -> bool:
    """Whether the node is a constant already."""
    source = node.args[0] if node.args else None
    return node.target is aten.expand.default and isinstance(source, Node) and source.op == "get_attr"


def _smallest(value: Value, axis: int, known: AxisFacts) -> Tensor:
    """The constant, with one element along every axis that it does not vary on."""
    rank = len(value.shape)
    uniform = known.uniform()
    if uniform is not None:
        return uniform.reshape([1] * rank).clone()
    return known.value.reshape([-1 if i == axis else 1 for i in range(rank)])


def _replace_in(program: Program, node: Node, user: Node, constant: Tensor) -> bool:
    if _broadcasts_over(user, node):
        if _is_neutral(user, node, constant):
            other = next(each for each in user.args[:2] if each is not node)
            assert isinstance(other, Node)
            user.replace_all_uses_with(other)
            return True
        user.replace_input_with(node, program.add_weight(f"{node.name}_constant", constant, user))
        return True
    sizes = _sizes(program, node)
    if sizes is None:
        return False
    small = program.add_weight(f"{node.name}_constant", constant, node)
    with program.graph.inserting_before(node):
        expanded = program.graph.call_function(aten.expand.default, (small, sizes))
    expanded.meta["val"] = node.meta["val"]
    user.replace_input_with(node, expanded)
    return True


def _broadcasts_over(user: Node, node: Node) -> bool:
    """Whether another operand alone gives the result its shape."""
    rule = RULES.get(user.target)
    if rule is None or rule.relate is not broadcast:
        return False
    shape = user.meta["val"].shape
    others = [each for each in user.all_input_nodes if each is not node and isinstance(each.meta["val"], Tensor)]
    return any(_same_shape(each.meta["val"].shape, shape) for each in others)


def _same_shape(one: torch.Size, other: torch.Size) -> bool:
    return [str(size) for size in one] == [str(size) for size in other]


def _is_neutral(user: Node, node: Node, constant: Tensor) -> bool:
    """Whether the operator returns its other operand as it is."""
    operands = list(user.args[:2])
    if user.target not in _NEUTRAL or user.kwargs or operands.count(node) != 1 or constant.numel() != 1:
        return False
    other = operands[1 - operands.index(node)]
    same = isinstance(other, Node) and _same_kind(other.meta["val"], user.meta["val"])
    ordered = user.target in _COMMUTES or operands[1] is node
    return same and ordered and bool(constant == _NEUTRAL[user.target])


def _same_kind(one: Any, other: Any) -> bool:
    return isinstance(one, Tensor) and _same_shape(one.shape, other.shape) and one.dtype == other.dtype


def _sizes(program: Program, node: Node) -> list[Any] | None:
    """The shape of the node as arguments; symbolic sizes come from the inputs of the program. None if that fails."""
    sizes: list[Any] = []
    for size in node.meta["val"].shape:
        if isinstance(size, int):
            sizes.append(size)
            continue
        found = _input_with_size(program, size)
        if found is None:
            return None
        with program.graph.inserting_before(node):
            symbol = program.graph.call_function(aten.sym_size.int, found)
        symbol.meta["val"] = size
        sizes.append(symbol)
    return sizes


def _input_with_size(program: Program, size: torch.SymInt) -> tuple[Node, int] | None:
    for node in program.placeholders():
        value = node.meta.get("val")
        for axis, each in enumerate(value.shape if isinstance(value, Tensor) else ()):
            if not isinstance(each, int) and str(each) == str(size):
                return node, axis
    return None

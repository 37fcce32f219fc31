"""A node of the graph seen through its operator's schema: named arguments, tensors in, tensors out."""

from collections.abc import Iterator
from operator import getitem
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import GraphModule, Node


class Value(NamedTuple):
    """One tensor of the graph: the output at ``position`` of ``node`` (0 where the node has one output)."""

    node: Node
    position: int = 0

    @property
    def fake(self) -> Tensor:
        """The fake tensor that carries shape and dtype."""
        found = self.node.meta["val"]
        fake: Tensor = found[self.position] if isinstance(found, (tuple, list)) else found
        return fake

    @property
    def shape(self) -> torch.Size:
        """Sizes; those that are not known at compile time are ``torch.SymInt``."""
        return self.fake.shape

    @property
    def dtype(self) -> torch.dtype:
        """The element type."""
        return self.fake.dtype

    def size(self, axis: int) -> int | None:
        """Size of an axis, or None where it is only known at run time."""
        size = self.shape[axis]
        return size if isinstance(size, int) else None


def value_of(node: object) -> Value | None:
    """The tensor that a graph node stands for, or None if it is no tensor."""
    if not isinstance(node, Node):
        return None
    if node.op == "call_function" and node.target is getitem:
        source, index = node.args
        return Value(source, index) if isinstance(source, Node) and isinstance(index, int) else None
    return Value(node) if isinstance(node.meta.get("val"), Tensor) else None


def outputs_of(node: Node) -> tuple[Value, ...]:
    """The tensors that a node computes."""
    found = node.meta.get("val")
    if isinstance(found, Tensor):
        return (Value(node),)
    if isinstance(found, (tuple, list)):
        return tuple(Value(node, i) for i, each in enumerate(found) if isinstance(each, Tensor))
    return ()


def is_call(node: Node) -> bool:
    """Whether the node computes something; picking one of several outputs is only a name for it."""
    return node.op == "call_function" and node.target is not getitem


def data_of(module: GraphModule, value: Value) -> Tensor | None:
    """The elements of a parameter or buffer, None for everything else."""
    if value.node.op != "get_attr":
        return None
    found: Any = module
    for part in str(value.node.target).split("."):
        found = getattr(found, part)
    return found.detach() if isinstance(found, Tensor) else None


class Call:
    """One operator call. Rules read its arguments by their names in the schema, and rewrite it by them."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.target: Any = node.target
        self.arguments: dict[str, Any] = dict(_bound_arguments(node))
        self.inputs: tuple[Value, ...] = tuple(_tensors(self.arguments.values()))
        self.outputs = outputs_of(node)

    def __getitem__(self, name: str) -> Any:
        """The argument of this name, or its default."""
        return self.arguments[name]

    @property
    def output(self) -> Value:
        """The first output."""
        return self.outputs[0]

    def value(self, name: str) -> Value | None:
        """The tensor given as this argument."""
        return value_of(self.arguments.get(name))

    def tensor(self, name: str) -> Value:
        """The tensor given as this argument, which is there."""
        found = self.value(name)
        assert found is not None, f"{self.node.name}: argument {name} is no tensor"
        return found

    def tensors(self, name: str) -> list[Value]:
        """The tensors in the list given as this argument."""
        return list(_tensors(self.arguments[name]))

    def data(self, value: Value) -> Tensor | None:
        """The elements of a parameter or buffer, None for everything else."""
        module = self.node.graph.owning_module
        return data_of(module, value) if module is not None else None

    def integers(self, name: str) -> list[int] | None:
        """The argument as a list of plain integers, None if any is symbolic."""
        given = self.arguments[name]
        items = list(given) if isinstance(given, (list, tuple)) else [given]
        return items if all(isinstance(i, int) for i in items) else None

    def rewrite(self, target: Any = None, /, **changes: Any) -> None:
        """Change arguments (and the operator) of the node in place; the operator must know all names."""
        if target is not None:
            self.node.target = target
        current = dict(_bound_arguments(self.node)) | changes
        schema: Any = self.node.target
        given = schema._schema.arguments
        positional = [a for a in given if not a.kwarg_only]
        while positional and _is_default(positional[-1], current[positional[-1].name]):
            positional.pop()
        self.node.args = tuple(current[a.name] for a in positional)
        self.node.kwargs = {a.name: current[a.name] for a in given if a.kwarg_only and current[a.name] is not None}


def _bound_arguments(node: Node) -> Iterator[tuple[str, Any]]:
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        yield from ((str(i), each) for i, each in enumerate(node.args))
        yield from node.kwargs.items()
        return
    for i, argument in enumerate(schema.arguments):
        if i < len(node.args):
            yield argument.name, node.args[i]
        else:
            default = argument.default_value if argument.has_default_value() else None
            yield argument.name, node.kwargs.get(argument.name, default)


def _is_default(argument: Any, given: Any) -> bool:
    return argument.has_default_value() and not isinstance(given, Node) and bool(argument.default_value == given)


def _tensors(arguments: Any) -> Iterator[Value]:
    for argument in arguments:
        if isinstance(argument, (list, tuple)):
            yield from _tensors(argument)
        elif (value := value_of(argument)) is not None:
            yield value

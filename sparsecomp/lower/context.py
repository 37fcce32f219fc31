"""What a converter sees: the function that is being built, the target, and the values made so far."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import fx
from tvm import relax, te, tirx

from sparsecomp.lower.pack import Packed
from sparsecomp.lower.symbols import Symbols
from sparsecomp.schedules import RULE, SCHEDULED
from sparsecomp.targets.base import Target

_OPAQUE = 8  # TVM's number for a function that fuses with nothing


class Context:
    """The state of one translation.

    Attributes:
        target: the device to compile for.
        kernels: problem and schedule of packed operators.
        symbols: the TVM variables of symbolic sizes.
        builder: Relax's block builder.
        results: from the name of each variable that holds a node's result to the name of the node.
    """

    def __init__(self, importer: Any, target: Target, graph: fx.Graph, kernels: Mapping[str, Packed]) -> None:
        self.target = target
        self.kernels = kernels
        self.results: dict[str, str] = {}
        self.builder: relax.BlockBuilder = importer.block_builder
        self._env: dict[fx.Node, Any] = importer.env
        inputs = [(node, self._env[node]) for node in graph.find_nodes(op="placeholder") if node in self._env]
        self.symbols = Symbols(inputs)
        self._parameters: dict[str, Any] = {}
        self._functions: dict[Hashable, Any] = {}

    def value(self, argument: Any) -> Any:
        """What stands for an argument of a node: a Relax variable for a node, its items for a list, else itself."""
        if isinstance(argument, fx.Node):
            return self._env[argument]
        if isinstance(argument, list | tuple):
            return [self.value(item) for item in argument]
        return argument

    def emit(self, expression: Any) -> relax.Var:
        """Bind an expression to a new variable."""
        return self.builder.emit(expression)

    def parameter(self, dim: Any) -> Any:
        """A size as a parameter of a kernel: a number as it is, a variable for each expression that varies."""
        if isinstance(dim, int):
            return dim
        return self._parameters.setdefault(str(dim), tirx.Var(f"n{len(self._parameters)}", "int64"))

    def reshape(self, argument: Any, shape: Sequence[Any]) -> relax.Var:
        """The value of an argument, with another shape where its rank differs."""
        value = self.value(argument)
        if len(value.ty.shape.values) == len(shape):
            return value
        return self.emit(relax.op.reshape(value, relax.ShapeExpr(list(shape))))

    def type_of(self, value: torch.Tensor) -> Any:
        """The Relax type of a fake tensor."""
        return relax.TensorType(self.symbols.dims(value.shape), dtype_name(value.dtype))

    def tensor(self, build: Callable[..., te.Tensor], *arguments: Any) -> relax.Var:
        """Compute a tensor by a tensor expression; ``build`` gets a TE tensor for each argument."""
        return self.builder.emit_te(build, *(self.value(argument) for argument in arguments))

    def alone(
        self, build: Callable[..., te.Tensor], *arguments: Any, attributes: Mapping[str, Any] | None = None
    ) -> relax.Var:
        """As `tensor`, for what must not be computed again in each function that reads it; this one gets attributes."""
        call = self.builder.call_te(build, *(self.value(argument) for argument in arguments))
        function = self.builder.get()[call.args[0]].with_attr({"op_pattern": _OPAQUE, **(attributes or {})})
        self.builder.update_func(call.args[0], function)
        return self.emit(call)

    def call(
        self, key: Hashable, build: Callable[[], tirx.PrimFunc], arguments: Sequence[Any], out: Any, name: str
    ) -> relax.Var:
        """Call one of our kernels; kernels with the same key are built once.

        Args:
            key: what the kernel depends on.
            build: makes the kernel; it takes the arguments, then the output.
            arguments: nodes, or Relax expressions.
            out: the Relax type of the output.
            name: what the function is called in dumps and profiles.
        """
        if key not in self._functions:
            function = build().with_attr({"op_pattern": _OPAQUE, SCHEDULED: True, RULE: name})
            self._functions[key] = self.builder.add_func(function.without_attr("global_symbol"), name)
        values = [self.value(argument) for argument in arguments]
        return self.emit(relax.call_tir(self._functions[key], values, out_ty=out))


def dtype_name(dtype: torch.dtype) -> str:
    """TVM's name of a torch dtype."""
    return str(dtype).removeprefix("torch.")

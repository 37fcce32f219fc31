"""The program: a torch.fx graph of aten operators that can be called at every stage, with its example inputs."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import fx
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _pytree as pytree

from sparsecomp.errors import SparsecompError
from sparsecomp.signature import WHOLE, Parts


@dataclass(frozen=True)
class PassRecord:
    """What one pass did: was anything changed, how long it took (seconds), and how far outputs moved (relative)."""

    name: str
    changed: bool
    seconds: float
    nodes: int
    relative_error: float | None = None


@dataclass(frozen=True)
class Removed:
    """Slices that were removed from axes that are tied together.

    Attributes:
        layer: path of the module that made the tensor of the group which lost most,
        tensor: its name in the graph, and
        axis: its axis in the group.
        slices: how many slices that axis had.
        removed: how many of them went; all, where the whole tensor is constant and nothing has to compute it.
        members: names of all tensors of the group that lost slices.
    """

    layer: str
    tensor: str
    axis: int
    slices: int
    removed: int
    members: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {**asdict(self), "members": list(self.members)}


@dataclass(frozen=True)
class Staying:
    """A group of axes that are tied together, in which idle slices could not be removed.

    Attributes:
        layer: path of the module that made the tensor of the group with the most such slices,
        tensor: its name in the graph, and
        axis: its axis in the group.
        slices: how many slices that axis has.
        idle: how many of them are constant or read by nobody, and stay.
        members: names of all tensors of the group.
        reasons: for each reason how many of these slices stay because of it, the most frequent first.
    """

    layer: str
    tensor: str
    axis: int
    slices: int
    idle: int
    members: tuple[str, ...]
    reasons: tuple[tuple[str, int], ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {**asdict(self), "members": list(self.members), "reasons": [list(each) for each in self.reasons]}


@dataclass
class Program:
    """A captured model between two passes.

    The graph has ``placeholder``, ``get_attr`` (weights, one node a tensor), ``call_function`` (an ``OpOverload``, or
    ``operator`` functions on sizes and tuples) and one ``output`` node. Every node carries ``meta["val"]``: the fake
    tensor, or the size, that it computes.

    Attributes:
        module: the graph; called like the model, it returns outputs in the model's own structure.
        args: positional example inputs.
        kwargs: keyword example inputs.
        range_constraints: for each symbolic size its smallest and largest value.
        log: one record for each pass that ran.
        removed: what the removal of dead slices took out.
        staying: what it had to leave, and why.
        parts: how a batch that the module takes in parts is cut.
    """

    module: fx.GraphModule
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    range_constraints: dict[Any, Any] = field(default_factory=dict)
    log: list[PassRecord] = field(default_factory=list)
    removed: tuple[Removed, ...] = ()
    staying: tuple[Staying, ...] = ()
    parts: Parts = WHOLE

    @property
    def graph(self) -> fx.Graph:
        """The graph of ``module``."""
        return self.module.graph

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program on tensors, without recording gradients."""
        with torch.no_grad():
            ordered = {name: kwargs[name] for name in self.kwargs if name in kwargs} | kwargs
            leaves, spec = pytree.tree_flatten((args, ordered))
            calls = (pytree.tree_unflatten(part, spec) for part in self.parts.cut(leaves))
            return pytree.tree_map(_joined, *(self.module(*args, **kwargs) for args, kwargs in calls))

    def example_outputs(self) -> list[Any]:
        """The flat outputs for the example inputs."""
        return pytree.tree_leaves(self(*self.args, **self.kwargs))

    def copy(self) -> "Program":
        """A program with a graph of its own, over the same weights."""
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        result = graph.graph_copy(self.graph, copies)
        graph.output(result)
        graph.set_codegen(self.graph._codegen)
        return replace(self, module=fx.GraphModule(self.module, graph), log=list(self.log))

    def output_spec(self) -> pytree.TreeSpec:
        """The structure of the outputs, with the model's own classes."""
        spec = self.graph._codegen.pytree_info.out_spec  # type: ignore[attr-defined]
        assert isinstance(spec, pytree.TreeSpec)
        return spec

    def placeholders(self) -> list[fx.Node]:
        """The flat inputs, in order."""
        return list(self.graph.find_nodes(op="placeholder"))

    def outputs(self) -> list[Any]:
        """The flat results: nodes, or plain values that do not depend on the inputs."""
        return list(pytree.tree_leaves(self.graph.output_node().args[0]))

    def calls(self, *targets: Any) -> Iterator[fx.Node]:
        """The calls of any of these operators, in graph order; all calls if none is named."""
        for node in list(self.graph.nodes):
            if node.op == "call_function" and (not targets or node.target in targets):
                yield node

    def is_weight(self, node: object) -> bool:
        """Whether this argument of a node is a tensor that the program holds."""
        return isinstance(node, fx.Node) and node.op == "get_attr"

    def is_trained(self, node: fx.Node) -> bool:
        """Whether this node is a parameter, which training would change."""
        if node.op != "get_attr":
            return False
        owner, name = _owner(self.module, str(node.target))
        return isinstance(getattr(owner, name), torch.nn.Parameter)

    def weight(self, node: fx.Node) -> torch.Tensor:
        """The tensor behind a ``get_attr`` node."""
        owner, name = _owner(self.module, str(node.target))
        tensor = getattr(owner, name)
        assert isinstance(tensor, torch.Tensor)
        return tensor.detach()

    def weights(self) -> dict[str, torch.Tensor]:
        """All tensors that the graph reads, by name, in graph order."""
        return {str(node.target): self.weight(node) for node in self.graph.find_nodes(op="get_attr")}

    def add_weight(self, name: str, tensor: torch.Tensor, before: fx.Node, trained: bool = False) -> fx.Node:
        """Store ``tensor`` under a free name made from ``name`` and return a new ``get_attr`` node for it.

        It becomes a parameter if it is ``trained``, else a buffer.
        """
        free = name = name.replace(".", "_")
        count = 1
        while hasattr(self.module, free):
            free, count = f"{name}_{count}", count + 1
        if trained:
            self.module.register_parameter(free, torch.nn.Parameter(tensor.detach()))
        else:
            self.module.register_buffer(free, tensor.detach())
        with self.graph.inserting_before(before):
            node = self.graph.get_attr(free)
        node.meta["val"] = self.fake(tensor)
        return node

    def fake(self, tensor: torch.Tensor) -> Any:
        """The fake tensor of ``tensor`` in the mode of this program."""
        return self.fake_mode().from_tensor(tensor.detach(), static_shapes=True)

    def fake_mode(self) -> FakeTensorMode:
        """The mode that all ``meta["val"]`` belong to; it knows the symbolic sizes."""
        for node in self.graph.nodes:
            for value in pytree.tree_leaves(node.meta.get("val")):
                if isinstance(value, FakeTensor):
                    return value.fake_mode
        return FakeTensorMode()

    def finish(self) -> None:
        """Make graph, code, attributes and ``meta["val"]`` consistent after a rewrite."""
        self.module.graph.lint()
        self.module.recompile()
        _ShapePropagation(self).run(*(node.meta["val"] for node in self.placeholders()))


def _joined(*parts: Any) -> Any:
    """The results of all parts of a batch as one; plain values are the same in all."""
    return torch.cat(parts) if len(parts) > 1 and isinstance(parts[0], torch.Tensor) else parts[0]


class _ShapePropagation(fx.Interpreter):
    """Recompute ``meta["val"]`` where the call or what it reads has changed; symbolic sizes stay symbolic.

    What torch computed while it traced is kept where it still holds.
    """

    def __init__(self, program: Program) -> None:
        super().__init__(program.module)
        self.program = program
        self.mode = program.fake_mode()

    def run(self, *args: Any, **_: Any) -> Any:  # the graph's code expects the model's structure; we have flat inputs
        with self.mode, enable_python_dispatcher(), torch.no_grad():
            return super().run(*args, enable_io_processing=False)

    def run_node(self, n: fx.Node) -> Any:
        types = [_type(source.meta.get("val")) for source in n.all_input_nodes]
        call = (n.target, str(n.args), str(n.kwargs), types)
        if n.op == "get_attr":
            value: Any = self._weight(n)
        elif n.op == "call_function" and n.meta.get("val") is not None and n.meta.get("call", call) == call:
            value = n.meta["val"]
        else:
            value = super().run_node(n)
        if n.op != "output":
            n.meta.update(val=value, call=call)
        return value

    def _weight(self, node: fx.Node) -> Any:
        owner, name = _owner(self.program.module, str(node.target))
        tensor, known = getattr(owner, name), node.meta.get("val")
        same = isinstance(known, torch.Tensor) and known.shape == tensor.shape and known.dtype == tensor.dtype
        return known if same else self.program.fake(tensor)


def _type(value: Any) -> str:
    """Shape and dtype of each tensor, the expression of each size."""
    leaves = pytree.tree_leaves(value)
    return str([(leaf.dtype, list(leaf.shape)) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves])


def _owner(module: torch.nn.Module, path: str) -> tuple[torch.nn.Module, str]:
    *parents, name = path.split(".")
    for parent in parents:
        module = getattr(module, parent)
    return module, name


def remove_unused_weights(program: Program) -> None:
    """Drop the tensors that no node reads, so that they cost no memory."""
    used = {str(node.target) for node in program.graph.find_nodes(op="get_attr")}
    named = [
        *program.module.named_parameters(remove_duplicate=False),
        *program.module.named_buffers(remove_duplicate=False),
    ]
    for path, _ in named:
        if path not in used:
            owner, name = _owner(program.module, path)
            delattr(owner, name)


def arguments(node: fx.Node) -> dict[str, Any]:
    """All arguments of a call of an operator by name, as given or by default."""
    assert isinstance(node.target, torch._ops.OpOverload)
    schema = node.target._schema.arguments
    given = dict(zip((argument.name for argument in schema), node.args, strict=False))
    defaults = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    return {**defaults, **given, **node.kwargs}


def origin(node: fx.Node) -> dict[str, Any]:
    """What a node's ``meta`` says of where it comes from, for nodes that replace it; not the type of its result."""
    return {key: value for key, value in node.meta.items() if key != "val"}


def source_line(node: fx.Node) -> str:
    """The line of source that made this node, as ``file:line, code``; empty if torch did not record it.

    Lines of the user come before lines of torch's own modules.
    """
    lines = [line.strip() for line in (node.stack_trace or "").splitlines()]
    frames = [index for index, line in enumerate(lines) if line.startswith("File ")]
    theirs = [index for index in frames if "/torch/" not in lines[index]] or frames
    if not theirs:
        return ""
    place, code = lines[theirs[-1]], lines[theirs[-1] + 1 : theirs[-1] + 2]
    place = place.removeprefix("File ").replace('"', "").replace(", line ", ":").split(", in ")[0]
    return ", ".join([place, *code])


def layer_path(node: fx.Node) -> str:
    """The path of the module that made this node, as the user writes it (``encoder.layer.0.dense``); empty for none."""
    stack = node.meta.get("nn_module_stack") or {}
    path = next((entry[0] for entry in reversed(stack.values())), "")
    return str(path).removeprefix("L['self'].").removeprefix("L['self']")


def layer_name(node: fx.Node) -> str:
    """As `layer_path`; the name of the node where there is none."""
    return layer_path(node) or node.name


def relative_error(outputs: Any, reference: Any) -> float:
    """The largest ``||y - ref|| / ||ref||`` over all tensors of two equal structures, computed in float64.

    Integers, booleans and plain values must be equal, and NaN and infinities must stand in the same places;
    otherwise the result is infinite.
    """
    left, right = pytree.tree_leaves(outputs), pytree.tree_leaves(reference)
    if len(left) != len(right):
        raise SparsecompError(f"compared {len(left)} outputs with {len(right)}")
    errors = [_relative_error(a, b) for a, b in zip(left, right, strict=True)]
    return float("inf") if any(math.isnan(error) for error in errors) else max(errors, default=0.0)  # max() skips NaN


def _relative_error(y: Any, ref: Any) -> float:
    if not isinstance(ref, torch.Tensor) or not isinstance(y, torch.Tensor):
        return 0.0 if y == ref else float("inf")
    if y.shape != ref.shape or y.dtype != ref.dtype:
        return float("inf")
    if not ref.dtype.is_floating_point:
        return 0.0 if torch.equal(y, ref) else float("inf")
    finite = torch.isfinite(ref)
    if not torch.equal(
        y[~finite].nan_to_num(0.5, torch.inf, -torch.inf), ref[~finite].nan_to_num(0.5, torch.inf, -torch.inf)
    ):
        return float("inf")
    y, ref = y[finite].double(), ref[finite].double()
    difference, scale = float(torch.linalg.vector_norm(y - ref)), float(torch.linalg.vector_norm(ref))
    return difference / scale if scale > 0 else difference

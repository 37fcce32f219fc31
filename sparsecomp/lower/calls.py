"""Which call of machine code computes which nodes of the graph.

Each call of the Relax module is marked with the names of its nodes in its span, which TVM's passes for fusion copy; so
the marks of what was fused are found in the body of the fused function.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tvm import ir, relax

from sparsecomp.schedules import RULE

KERNEL = ("relax.call_tir", "relax.call_tir_inplace", "relax.call_dps_packed")
LONGEST = 20_000  # characters of the code of one function: unrolled ones are long, and a report must stay small
NODES, CALLS = "sparsecomp.nodes", "sparsecomp.calls"


@dataclass(frozen=True)
class KernelCall:
    """One call of a compiled function; they run in this order.

    Attributes:
        function: its name in the library.
        rule: the kernel or the schedule rule that made it; ``"torch"`` for a call back into torch.
        nodes: names of the nodes of the fused graph that it computes.
        layers: paths of these in the user's model, without repetition.
        inputs: indices of the calls whose results it reads, names of inputs and weights.
    """

    function: str
    rule: str
    nodes: tuple[str, ...]
    layers: tuple[str, ...]
    inputs: tuple[int | str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        found = asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


@dataclass(frozen=True)
class Trace:
    """What ``main`` runs.

    Attributes:
        calls: the calls of compiled functions, in order.
        results: what it returns: indices of calls, names of inputs and weights.
    """

    calls: tuple[KernelCall, ...]
    results: tuple[int | str, ...]


def mark(module: ir.IRModule) -> ir.IRModule:
    """Before fusion: write into the span of each binding of ``main`` which node it computes.

    The attribute `NODES` of the module has the name of the node for the variables that hold a node's result; what comes
    before such a variable and is not named there is computed for the same node.
    """
    names = dict(module.attrs[NODES]) if module.attrs and NODES in module.attrs else {}
    owners, owner = {}, ""
    for binding in reversed(list(bindings(module["main"]))):
        owner = str(names.get(binding.var.name, owner))
        owners[binding.var] = owner
    module.update_func(module.get_global_var("main"), _Marker(owners).visit_expr(module["main"]))
    return module


@relax.expr_functor.mutator
class _Marker(relax.PyExprMutator):  # type: ignore[misc]  # TVM has no type stubs
    def __init__(self, owners: Mapping[Any, str]) -> None:
        super().__init__()
        self._owners = owners

    def visit_var_binding_(self, binding: Any) -> None:
        value = binding.value
        if isinstance(value, relax.Call) and self._owners.get(binding.var):
            span = ir.Span(ir.SourceName(self._owners[binding.var]), 0, 0, 0, 0)
            binding = relax.VarBinding(binding.var, relax.Call(value.op, value.args, value.attrs, value.ty_args, span))
        super().visit_var_binding_(binding)


def keep_marks(module: ir.IRModule) -> ir.IRModule:
    """After fusion: collect the nodes of each call of a function, in order, in the attribute `CALLS`."""
    found = []
    for binding in bindings(module["main"]):
        call = binding.value
        if isinstance(call, relax.Call) and isinstance(call.op, ir.GlobalVar):
            inner = (_node(each.value) for each in bindings(module[call.op]))
            found.append(list(dict.fromkeys(name for name in inner if name)))
        elif is_call(call, *KERNEL):
            found.append([_node(call)] if _node(call) else [])
    return module.with_attr(CALLS, found)


def trace(module: ir.IRModule, layers: Mapping[str, str]) -> Trace:
    """The calls of a scheduled module.

    Args:
        module: what `lower` returned.
        layers: the path in the user's model of each node that has one.
    """
    *inputs, weights = module["main"].params
    made: dict[Any, int | str] = {each: each.name for each in inputs} | {weights: ""}
    kernels = [binding for binding in bindings(module["main"]) if is_call(binding.value, *KERNEL)]
    nodes = [tuple(str(name) for name in each) for each in module.attrs[CALLS]]
    assert len(nodes) == len(kernels), "a pass after fusion removed or added calls"
    calls: list[KernelCall] = []
    for binding in bindings(module["main"]):
        if is_call(binding.value, *KERNEL):
            made[binding.var] = len(calls)
            calls.append(_call(module, binding.value, nodes[len(calls)], layers, made))
        else:
            made[binding.var] = next(iter(_sources(binding.value, made)), "")
    return Trace(tuple(calls), tuple(_sources(returned(module["main"]), made)))


def code_of(module: ir.IRModule, ran: Trace) -> dict[str, str]:
    """The scheduled loops of each function that runs, as TVMScript; the end of a very long one is cut off."""
    functions = {variable.name_hint: function for variable, function in module.functions_items()}
    found = {}
    for name in dict.fromkeys(call.function for call in ran.calls if call.function in functions):
        text = functions[name].script(show_meta=False)
        found[name] = text if len(text) <= LONGEST else f"{text[:LONGEST]}\n# ... {len(text) - LONGEST} characters more"
    return found


def _call(
    module: ir.IRModule, value: Any, nodes: tuple[str, ...], layers: Mapping[str, str], made: Mapping[Any, int | str]
) -> KernelCall:
    callee = value.args[0]
    compiled = isinstance(callee, ir.GlobalVar)
    attributes = module[callee].attrs if compiled else None
    return KernelCall(
        function=callee.name_hint if compiled else callee.global_symbol,
        rule=str(attributes.get(RULE, "")) if attributes else "torch",
        nodes=nodes,
        layers=tuple(dict.fromkeys(layers[name] for name in nodes if layers.get(name))),
        inputs=tuple(dict.fromkeys(_sources(value.args[1], made))),
    )


def bindings(function: relax.Function) -> Iterator[Any]:
    """The bindings of a function, in order."""
    for block in function.body.blocks:
        yield from block.bindings


def _node(call: Any) -> str:
    return str(call.span.source_name.name) if isinstance(call, relax.Call) and call.span else ""


def returned(function: relax.Function) -> Any:
    """The expression that a function returns."""
    body = function.body.body
    return next((binding.value for binding in bindings(function) if binding.var.same_as(body)), body)


def is_call(value: Any, *names: str) -> bool:
    """Whether an expression calls one of these operators of Relax."""
    return isinstance(value, relax.Call) and isinstance(value.op, ir.Op) and value.op.name in names


def _sources(value: Any, made: Mapping[Any, int | str]) -> Iterator[int | str]:
    """What the variables of an expression are made from; weights are left out."""
    yield from (made[each] for each in variables(value) if made.get(each, "") != "")


def variables(value: Any) -> Iterator[Any]:
    """The variables that an expression reads."""
    if isinstance(value, relax.Var):
        yield value
    elif isinstance(value, relax.Tuple):
        for each in value.fields:
            yield from variables(each)
    elif isinstance(value, relax.Call):
        for each in value.args:
            yield from variables(each)
    elif isinstance(value, relax.TupleGetItem):
        yield from variables(value.tuple_value)

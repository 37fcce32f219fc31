"""Program -> ExportedProgram: the form that TVM's importer reads."""

import torch
from torch import fx
from torch.export import ExportedProgram, ModuleCallEntry, ModuleCallSignature
from torch.export.graph_signature import (
    ConstantArgument,
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    SymIntArgument,
    TensorArgument,
)
from torch.utils import _pytree as pytree

from sparsecomp.program import Program


def to_exported(program: Program) -> ExportedProgram:
    """Lift every weight to an input, flatten inputs and outputs, and describe both in a signature.

    All weights become parameters, in graph order, so that the importer passes them as arguments and copies none. No
    tracing: node names, source lines and symbolic sizes stay. Inputs and results that are plain values are left out.
    """
    graph = fx.Graph()
    inputs: list[InputSpec] = []
    copies: dict[fx.Node, fx.Node] = {}
    weights = list(program.graph.find_nodes(op="get_attr"))
    tensors = [node for node in program.placeholders() if isinstance(node.meta["val"], torch.Tensor)]
    for node in [*weights, *tensors]:
        copies[node] = _placeholder(graph, node, inputs)
    for node in program.graph.nodes:
        if node.op == "call_function":
            copies[node] = graph.node_copy(node, copies.__getitem__)
    outputs = [copies[value] for value in program.outputs() if isinstance(value, fx.Node)]
    graph.output(tuple(outputs))
    specs = [OutputSpec(OutputKind.USER_OUTPUT, _argument(value), None) for value in outputs]
    return ExportedProgram(
        root=torch.nn.Module(),
        graph=graph,
        graph_signature=ExportGraphSignature(inputs, specs),
        state_dict={name: torch.nn.Parameter(tensor, False) for name, tensor in program.weights().items()},
        range_constraints=program.range_constraints,
        module_call_graph=[_root_call(program, len(outputs))],
        constants={},
    )


def _placeholder(graph: fx.Graph, node: fx.Node, inputs: list[InputSpec]) -> fx.Node:
    copy = graph.placeholder(node.name)
    copy.meta = {name: value for name, value in node.meta.items() if name != "tensor_meta"}  # passes keep "val" only
    if node.op == "get_attr":
        inputs.append(InputSpec(InputKind.PARAMETER, TensorArgument(copy.name), str(node.target)))
    else:
        inputs.append(InputSpec(InputKind.USER_INPUT, _argument(copy), None))
    return copy


def _argument(value: object) -> TensorArgument | SymIntArgument | ConstantArgument:
    if not isinstance(value, fx.Node):
        assert value is None or isinstance(value, int | float | bool | str)
        return ConstantArgument(name="", value=value)
    computed = value.meta["val"]
    if isinstance(computed, torch.Tensor):
        return TensorArgument(value.name)
    if isinstance(computed, torch.SymInt):
        return SymIntArgument(value.name)
    return ConstantArgument(name=value.name, value=computed)


def _root_call(program: Program, outputs: int) -> ModuleCallEntry:
    inputs = tuple(range(sum(isinstance(node.meta["val"], torch.Tensor) for node in program.placeholders())))
    signature = ModuleCallSignature(
        inputs=[],
        outputs=[],
        in_spec=pytree.tree_structure((inputs, {})),
        out_spec=pytree.tree_structure(tuple(range(outputs))),
    )
    return ModuleCallEntry(fqn="", signature=signature)

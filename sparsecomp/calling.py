"""The signature of a program: from torch's pytree specifications to data."""

import inspect
import math
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from sparsecomp.errors import CaptureError
from sparsecomp.program import Program
from sparsecomp.signature import Dim, Input, Output, Signature
from sparsecomp.structure import Structure, describe, flatten


def signature_of(program: Program, model: object = None) -> Signature:
    """What the program takes and gives.

    Args:
        program: the program.
        model: the module that it was captured from, for the names of its parameters.

    Raises:
        CaptureError: an input is a container that cannot be described (neither tuple, list, dict nor dataclass).
    """
    specs = program.module.graph._codegen.pytree_info  # type: ignore[attr-defined]
    placeholders, outputs = program.placeholders(), program.outputs()
    args, kwargs = pytree.tree_unflatten(list(range(len(placeholders))), specs.in_spec)
    structure = describe((args, kwargs))
    if flatten((args, kwargs), structure) != list(range(len(placeholders))):
        raise CaptureError("capture: inputs may nest in tuples, lists, dicts and dataclasses only")
    return Signature(
        parameters=_parameters(model, args, placeholders),
        positional=len(args),
        keywords=tuple(kwargs),
        inputs=tuple(
            _input(node, program.parts.count if i in program.parts.inputs else 1) for i, node in enumerate(placeholders)
        ),
        structure=structure,
        outputs=_outputs(outputs),
        output_structure=_output_structure(specs.out_spec, len(outputs)),
        ranges={str(symbol): _range(limits) for symbol, limits in program.range_constraints.items()},
        parts=program.parts,
    )


def _parameters(model: object, args: Sequence[Any], placeholders: Sequence[fx.Node]) -> tuple[str, ...]:
    if isinstance(model, nn.Module):
        return tuple(inspect.signature(model.forward).parameters)
    return tuple(placeholders[arg].name if isinstance(arg, int) else f"arg{i}" for i, arg in enumerate(args))


def _input(node: fx.Node, parts: int) -> Input:
    """An input as a caller gives it, of which the program takes so many parts one after the other."""
    value = node.meta["val"]
    if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
        raise CaptureError(
            f"capture: input {node.name} is a number that varies; pass it as a tensor, or leave it fixed"
        )
    if not isinstance(value, torch.Tensor):
        return Input(node.name, value=value)
    shape = [_dim(size) for size in value.shape]
    whole = [shape[0] * parts, *shape[1:]] if parts > 1 else shape
    return Input(node.name, str(value.dtype).removeprefix("torch."), tuple(whole))


def _dim(size: int | torch.SymInt) -> Dim:
    return size if isinstance(size, int) else str(size.node.expr)


def _outputs(outputs: Sequence[Any]) -> tuple[Output, ...]:
    sizes = [value.name for value in outputs if isinstance(value, fx.Node) and not _is_tensor(value)]
    if sizes:
        raise CaptureError(f"capture: the model returns sizes that vary ({', '.join(sizes)}); return tensors only")
    tensors = [index for index, value in enumerate(outputs) if isinstance(value, fx.Node)]
    return tuple(
        Output(tensors.index(index)) if isinstance(value, fx.Node) else Output(None, value)
        for index, value in enumerate(outputs)
    )


def _is_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta["val"], torch.Tensor)


def _output_structure(spec: Any, count: int) -> Structure:
    indices = pytree.tree_unflatten(list(range(count)), spec)
    structure = describe(indices)
    if flatten(indices, structure) == list(range(count)):
        return structure
    return {"list": [None] * count}  # a container of the model's own: saved programs give a flat list


def _range(limits: Any) -> tuple[int, int | None]:
    upper = float(limits.upper)
    return int(limits.lower), None if math.isinf(upper) or upper >= 2**62 else int(upper)


def shared_outputs(program: Program) -> tuple[int, ...]:
    """The results that are, or may be a view of, an input or a weight: handing them out would share their memory."""
    nodes = [value for value in program.outputs() if isinstance(value, fx.Node)]
    return tuple(index for index, node in enumerate(nodes) if _root(node).op != "call_function")


def _root(node: fx.Node) -> fx.Node:
    """The node whose memory a chain of views shows."""
    while _is_view(node):
        source = node.args[0]
        assert isinstance(source, fx.Node)
        node = source
    return node


def _is_view(node: fx.Node) -> bool:
    """Whether torch declares that the result may share the memory of the first argument, as a reshape does."""
    if node.target is operator.getitem:
        return True
    if not isinstance(node.target, torch._ops.OpOverload) or not node.target._schema.arguments:
        return False
    return node.target._schema.arguments[0].alias_info is not None and isinstance(node.args[0], fx.Node)

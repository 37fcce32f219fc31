"""Capture: from an ``nn.Module`` or ``ExportedProgram`` to a functional aten graph that can be called.

``torch.export`` does the tracing; ``run_decompositions({})`` makes the graph functional (no in-place forms) while the
composite operators that mean something to us (linear, convolutions, normalisations, attention, gelu ...) stay whole.
"""

import warnings
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind
from torch.utils import _pytree as pytree

from sparsecomp.errors import CaptureError
from sparsecomp.program import Program

_USER_OUTPUTS = (OutputKind.USER_OUTPUT, OutputKind.LOSS_OUTPUT)
_TRAINING = {
    "aten.alpha_dropout.default": 2,
    "aten.batch_norm.default": 5,
    "aten.dropout.default": 2,
    "aten.feature_alpha_dropout.default": 2,
    "aten.feature_dropout.default": 2,
}
"""Operators that behave otherwise in training, with the place of the argument that says so."""


def capture(
    model: nn.Module | ExportedProgram,
    args: tuple[Any, ...] | None = None,
    kwargs: dict[str, Any] | None = None,
    dynamic_shapes: Any = None,
) -> Program:
    """Trace a model on example inputs.

    Args:
        model: a module in evaluation mode, or the result of ``torch.export.export``.
        args: positional example inputs; a single tensor stands for a tuple of one.
        kwargs: keyword example inputs.
        dynamic_shapes: which sizes vary, as in ``torch.export.export``.

    Raises:
        CaptureError: the model is in training mode, mutates its state, or cannot be exported.
    """
    check_model(model)
    if isinstance(model, ExportedProgram):
        exported = _check_exported(model, args, kwargs, dynamic_shapes)
        args, kwargs = exported.example_inputs or ((), {})
    else:
        args, kwargs = _check_inputs(args, kwargs)
        exported = _export(model, args, kwargs, dynamic_shapes)
    _check_trained(exported)
    return _unlift(exported, args, kwargs)


def check_model(model: object) -> None:
    """Whether this can be captured at all, before there are inputs.

    Raises:
        CaptureError: it is no model, or in training mode.
    """
    if not isinstance(model, nn.Module | ExportedProgram):
        raise CaptureError(
            f"capture: expected a torch.nn.Module or a torch.export.ExportedProgram, got {type(model).__name__}"
        )
    if isinstance(model, nn.Module) and model.training:
        raise CaptureError("capture: the model is in training mode; call model.eval() first")


def _check_inputs(args: Any, kwargs: dict[str, Any] | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if not isinstance(args, tuple | list | torch.Tensor | None):
        raise CaptureError(f"capture: args must be a tuple of example inputs, or one tensor, got {type(args).__name__}")
    if kwargs is not None and not isinstance(kwargs, dict):
        raise CaptureError(f"capture: kwargs must be a dict of keyword inputs, got {type(kwargs).__name__}")
    args = (args,) if isinstance(args, torch.Tensor) else tuple(args or ())
    tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    if not tensors:
        raise CaptureError(
            "capture: the example inputs hold no tensor; pass args=(tensor, ...) or kwargs={name: tensor} "
            "(torch.from_numpy makes a tensor of an array), or call the compiled program once"
        )
    elsewhere = {str(tensor.device) for tensor in tensors if tensor.device.type != "cpu"}
    if elsewhere:
        raise CaptureError(
            f"capture: example inputs must be on the cpu, got {', '.join(sorted(elsewhere))}; use .cpu()"
        )
    return args, dict(kwargs or {})


def _check_exported(exported: ExportedProgram, args: Any, kwargs: Any, dynamic_shapes: Any) -> ExportedProgram:
    if exported.example_inputs is None:
        raise CaptureError(
            "capture: this ExportedProgram has no example inputs; export it again with torch.export.export"
        )
    if args is not None or kwargs or dynamic_shapes is not None:
        raise CaptureError(
            "capture: an ExportedProgram brings its own example inputs and dynamic shapes; "
            "leave args, kwargs and dynamic_shapes away, or pass the nn.Module"
        )
    return exported


def _export(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic_shapes: Any) -> ExportedProgram:
    try:
        with torch.no_grad():
            return torch.export.export(model, args, kwargs, dynamic_shapes=dynamic_shapes)
    except Exception as error:  # torch.export raises many unrelated types
        shapes = "" if dynamic_shapes is None else f" (with dynamic_shapes={dynamic_shapes!r})"
        raise CaptureError(f"capture: torch.export could not trace {type(model).__name__}{shapes}: {error}") from error


def _check_trained(exported: ExportedProgram) -> None:
    for node in exported.graph.nodes:
        training = _TRAINING.get(str(node.target))
        if training is not None and node.args[training] is True:
            raise CaptureError(
                f"capture: {node.name} ({node.target}) is in training mode; call model.eval() before exporting"
                " (and let batch norms track running statistics)"
            )


def _check_stateless(functional: ExportedProgram) -> None:
    """Changes of state and inputs are outputs of a functional graph, and only of that."""
    mutated = [spec.target for spec in functional.graph_signature.output_specs if spec.kind not in _USER_OUTPUTS]
    if mutated:
        names = ", ".join(str(name) for name in mutated)
        raise CaptureError(
            f"capture: the model changes its own state or inputs ({names}); return the new value instead"
        )


def _decompositions(exported: ExportedProgram) -> dict[Any, Any]:
    """Operators of the user that are written in terms of others are taken apart; those of aten stay whole."""
    targets = {node.target for node in exported.graph.nodes if isinstance(node.target, torch._ops.OpOverload)}
    custom = [target for target in targets if target.namespace not in ("aten", "sparsecomp")]
    known = torch.export.default_decompositions() if custom else {}
    return {target: known[target] for target in custom if target in known}


def _unlift(exported: ExportedProgram, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Program:
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)  # of torch, about how torch copies itself
            functional = exported.run_decompositions(_decompositions(exported))
            _check_stateless(functional)
            module = functional.module(check_guards=False)
    except CaptureError:
        raise
    except Exception as error:
        raise CaptureError(f"capture: torch could not make the graph functional: {error}") from error
    assert isinstance(module, torch.fx.GraphModule)
    values = {node.name: node.meta.get("val") for node in functional.graph.find_nodes(op="placeholder")}
    for node in module.graph.find_nodes(op="placeholder"):
        node.meta.setdefault("val", values.get(node.name))
    program = Program(module, args, kwargs, dict(functional.range_constraints))
    program.finish()
    return program

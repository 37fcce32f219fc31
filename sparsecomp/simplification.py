"""Removal alone, for people who want a smaller PyTorch module and not a compiled program."""

from typing import Any

from torch import fx, nn
from torch.export import ExportedProgram

from sparsecomp.capture import capture
from sparsecomp.passes.canonicalize import Canonicalize
from sparsecomp.passes.driver import run
from sparsecomp.passes.eliminate_dead import EliminateDead
from sparsecomp.passes.fold_constants import FoldConstants
from sparsecomp.passes.remove_dead_slices import RemoveDeadSlices

_PASSES = (Canonicalize(), FoldConstants(), RemoveDeadSlices(), Canonicalize(), EliminateDead())


def simplify(
    model: nn.Module | ExportedProgram,
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    dynamic_shapes: Any = None,
) -> fx.GraphModule:
    """A smaller module that computes the same: channels, heads and neurons that nothing depends on are gone.

    The result is called like the model and gives outputs in the model's own structure. It can be exported again
    (``torch.export``, ONNX), saved, and trained further (batch normalisation keeps its statistics). The model itself is
    not changed.

    Args:
        model: a module in evaluation mode, or the result of ``torch.export.export``.
        args: positional example inputs (a tuple, or one tensor).
        kwargs: keyword example inputs.
        dynamic_shapes: which sizes vary, as in ``torch.export.export``.

    Raises:
        CaptureError: the model cannot be captured.
        PassError: the outputs for the example inputs would change by more than 1e-4 (relative).
    """
    program = capture(model, args, kwargs, dynamic_shapes)
    run(_PASSES, program)
    for parameter in program.module.parameters():
        parameter.requires_grad_(parameter.dtype.is_floating_point)
    return _owned(program.copy().module.eval())


def _owned(module: fx.GraphModule) -> fx.GraphModule:
    """Parameters of the module's own, so that training it does not change the model."""
    for owner in module.modules():
        for name, parameter in list(owner.named_parameters(recurse=False)):
            setattr(owner, name, nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad))
        for name, buffer in list(owner.named_buffers(recurse=False)):
            setattr(owner, name, buffer.detach().clone())
    return module

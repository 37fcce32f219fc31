"""The verbs: what a user imports."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn
from torch.export import ExportedProgram

from sparsecomp.capture import check_model
from sparsecomp.compilation import Compilation
from sparsecomp.runtime import Compiled
from sparsecomp.targets import Target, available, resolve


def compile(
    model: nn.Module | ExportedProgram,
    target: str | Target = "native",
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    dynamic_shapes: Any = None,
    verify: bool = True,
    strict: bool = False,
    dump: str | Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> Compiled:
    """Compile a model to machine code that computes the same.

    Args:
        model: a module in evaluation mode, or the result of ``torch.export.export``.
        target: the name of a target (see `sparsecomp.targets`) or a `Target` of your own.
        args: positional example inputs (a tuple, or one tensor). Without args and kwargs the first call of the result
            captures and compiles.
        kwargs: keyword example inputs.
        dynamic_shapes: which sizes vary, as in ``torch.export.export``.
        verify: compare every pass, and the result, with the model on the example inputs.
        strict: refuse weights that have zeros and run dense, instead of only reporting them.
        dump: directory for one text file for each pass that changed something, then Relax, TIR and scheduled TIR.
        progress: called with the name of each stage as it begins.

    Returns:
        A callable that takes and gives what the model does.

    Raises:
        TargetError: there is no such target.
        CaptureError: the model cannot be captured.
        UnsupportedOperatorError: operators without a lowering, all of them.
        VerificationError: the result differs by more than 1e-4 (relative) from the model.
    """
    check_model(model)
    work = Compilation(model, resolve(target), dynamic_shapes, verify, strict, dump, progress)
    compiled = Compiled(work.run, work.reference, work.assemble)
    if args is not None or kwargs is not None or isinstance(model, ExportedProgram):
        compiled.prepare(args, kwargs)
    return compiled


def targets() -> list[Target]:
    """The targets that have a name, this machine first."""
    return list(available())

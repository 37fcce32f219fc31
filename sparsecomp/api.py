"""The verbs: what a user imports."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn
from torch.export import ExportedProgram

from sparsecomp.capture import check_model
from sparsecomp.compilation import Compilation
from sparsecomp.dump import Dump
from sparsecomp.errors import TuneError
from sparsecomp.program import Program
from sparsecomp.runtime import Compiled
from sparsecomp.targets import Target, available, resolve
from sparsecomp.tune.progress import bar
from sparsecomp.tune.records import Records, location
from sparsecomp.tune.report import TuneReport
from sparsecomp.tune.tuner import check_arguments, check_device, tune_program


def compile(
    model: nn.Module | ExportedProgram,
    target: str | Target = "native",
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    dynamic_shapes: Any = None,
    verify: bool = True,
    strict: bool = False,
    tune: int = 0,
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
        tune: how many schedules of each distinct layer to measure on this machine, those on record included. 0: nothing
            is measured now, and what is on record is used.
        dump: directory for one text file for each pass that changed something, then Relax, TIR and scheduled TIR.
        progress: called with the name of each stage as it begins, and with how far it is before each trial of tuning.

    Returns:
        A callable that takes and gives what the model does.

    Raises:
        TargetError: there is no such target.
        CaptureError: the model cannot be captured.
        UnsupportedOperatorError: operators without a lowering, all of them.
        TuneError: ``tune`` is asked for where nothing can be measured, or the records cannot be written.
        VerificationError: the result differs by more than 1e-4 (relative) from the model.
    """
    check_model(model)
    check_arguments(tune, None, least=0)
    work = Compilation(model, resolve(target), dynamic_shapes, verify, strict, dump, progress, tune)
    compiled = Compiled(work.run, work.reference, work.assembler)
    if args is not None or kwargs is not None or isinstance(model, ExportedProgram):
        compiled.prepare(args, kwargs)
    return compiled


def tune(
    model: nn.Module | ExportedProgram | Compiled,
    target: str | Target = "native",
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    dynamic_shapes: Any = None,
    trials: int = 64,
    time_limit: float | None = None,
    records: str | Path | None = None,
    progress: bool | None = None,
) -> TuneReport:
    """Measure ways to run the layers of a model on this machine; later compiles use the fastest.

    Each distinct layer is run alone, with its real weights, in a process that is ended when a trial hangs. Every
    measurement is kept at once: an interrupt from the keyboard ends tuning and loses nothing, and another call goes on.

    Args:
        model: as for `compile`, or a `Compiled` that was not loaded from a file.
        target: the name of a target that this machine can run, or a `Target` of your own.
        args: positional example inputs; none for an ``ExportedProgram`` or a `Compiled`.
        kwargs: keyword example inputs.
        dynamic_shapes: which sizes vary; they are measured as the example inputs have them.
        trials: how many schedules of each distinct layer to measure, those on record included.
        time_limit: seconds after which no more trials begin.
        records: the file that keeps the measurements, or ``"off"``; None for what the environment variable
            SPARSECOMP_RECORDS says, else ``sparsecomp/tuning.sqlite`` in the user's cache directory. A compile looks
            where None leads.
        progress: show a bar on standard error; None: if that is a terminal.

    Returns:
        What was measured and what it gains, layer by layer.

    Raises:
        TargetError: there is no such target.
        TuneError: this machine cannot measure it, the program was loaded from a file, or the records cannot be written.
        CaptureError: the model cannot be captured.
    """
    check_arguments(trials, time_limit)
    device = resolve(target)
    check_device(device)
    with Records(location(records), write=True) as kept:
        program = _program_of(model, device, args, kwargs, dynamic_shapes)
        with bar(progress) as observe:
            return tune_program(program, device, kept, trials, time_limit, observe)


def _program_of(model: Any, target: Target, args: Any, kwargs: dict[str, Any] | None, dynamic_shapes: Any) -> Program:
    """The program after the passes, whose layers are measured."""
    if not isinstance(model, Compiled):
        check_model(model)
        return Compilation(model, target, dynamic_shapes, verify=False).rewritten(args, kwargs, Dump(None))
    if args is not None or kwargs is not None or dynamic_shapes is not None:
        raise TuneError("tune: a compiled program has its example inputs; leave args, kwargs and dynamic_shapes out")
    programs = model.prepare().programs
    if "fused" not in programs:
        raise TuneError(
            "tune: this program was loaded from a file, which holds machine code and packed weights only; tune the "
            "model, compile it again and save that"
        )
    program = programs["fused"]
    assert isinstance(program, Program)
    return program


def targets() -> list[Target]:
    """The targets that have a name, this machine first."""
    return list(available())

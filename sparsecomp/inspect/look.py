"""A model or program as a report, whatever form it comes in."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn
from torch.export import ExportedProgram, load

from sparsecomp.artifact import read_report
from sparsecomp.calling import signature_of
from sparsecomp.capture import capture, check_model
from sparsecomp.errors import CaptureError, SparsecompError
from sparsecomp.inspect.layers import layer_rows
from sparsecomp.inspect.stages import Stages
from sparsecomp.inspect.work import dense_seconds
from sparsecomp.lower import Decision, Trace, choose_kernels
from sparsecomp.passes import pipeline, run
from sparsecomp.report import Report
from sparsecomp.runtime import Compiled
from sparsecomp.targets import Target, available


def inspect(model: Any, args: Any = None, kwargs: dict[str, Any] | None = None) -> Report:
    """What is in a model or a compiled program.

    Args:
        model: a module in evaluation mode, an ``ExportedProgram``, a `Compiled`, or the path of a file that
            `Compiled.save` or ``torch.export.save`` wrote.
        args: positional example inputs, which a module needs.
        kwargs: keyword example inputs.

    Returns:
        The report of the compile; of a model, which structure is in its weights, what would be removed, how each layer
        would run on this machine, and what each target is predicted to gain (`Report.gains`). Nothing is compiled.

    Raises:
        SparsecompError: it is none of these, or cannot be read or captured.
    """
    if isinstance(model, Compiled):
        return model.report
    if isinstance(model, str | Path):
        if Path(model).suffix != ".pt2":
            return read_report(model)
        model = _exported(Path(model))
    if not isinstance(model, nn.Module | ExportedProgram):
        raise SparsecompError(
            f"inspect: {type(model).__name__} is no model; give a module, an ExportedProgram, a Compiled or a path"
        )
    check_model(model)
    return _of_model(model, args, kwargs)


def _exported(path: Path) -> ExportedProgram:
    try:
        return load(path)
    except Exception as error:  # a foreign file fails in many ways
        raise CaptureError(f"inspect: {path} cannot be read by torch.export.load: {error}") from error


def _of_model(model: nn.Module | ExportedProgram, args: Any, kwargs: dict[str, Any] | None) -> Report:
    program, stages = capture(model, args, kwargs, None), Stages()
    stages.captured(program)
    targets = available()
    run(pipeline(targets[0]), program, stages.after_pass, verify=False)
    decided = {target: choose_kernels(program, target) for target in targets}
    here = targets[0]
    rows = _rows(stages, decided[here], here)
    weights = program.weights().values()
    return Report(
        model=type(model).__name__,
        target=here.name,
        signature=str(signature_of(program, model)),
        passes=tuple(asdict(record) for record in program.log),
        seconds={},
        nodes=sum(1 for _ in program.calls()),
        weight_bytes=sum(tensor.numel() * tensor.element_size() for tensor in weights),
        parts=program.parts.count,
        decisions=tuple(decision.to_dict() for decision in decided[here].values()),
        removed=tuple(each.to_dict() for each in program.removed),
        staying=tuple(each.to_dict() for each in program.staying),
        stages=stages.views(),
        layers=tuple(rows),
        gains=tuple(_gain(rows, decisions, target, program.parts.count) for target, decisions in decided.items()),
    )


def _rows(stages: Stages, decisions: dict[str, Decision], target: Target) -> list[dict[str, Any]]:
    captured, fused = stages.programs["captured"], stages.programs["fused"]
    return layer_rows(captured, fused, decisions, {}, Trace((), ()), target)


def _gain(rows: list[dict[str, Any]], decisions: dict[str, Decision], target: Target, parts: int) -> dict[str, Any]:
    """Over the layers that our kernels take, removal included."""
    dense, predicted = 0.0, 0.0
    for row in rows:
        found = [decisions[name] for name in row["nodes"] if name in decisions]
        whole = dense_seconds(found, tuple(row["shape"]), target) if found else None
        if whole is not None:
            dense += parts * whole
            predicted += parts * sum(each.chosen.predicted for each in found if each.chosen is not None)
    speedup = dense / predicted if predicted else 1.0
    return {"target": target.name, "dense": dense, "predicted": predicted, "speedup": speedup}

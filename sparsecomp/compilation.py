"""From a model to a library: the stages of one compile, timed and verified."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from sparsecomp.assembling import Assemble, assembler
from sparsecomp.calling import shared_outputs, signature_of
from sparsecomp.capture import capture
from sparsecomp.dump import Dump
from sparsecomp.engine import Engine
from sparsecomp.errors import CaptureError, LoweringError, SparsecompError, TuneError, VerificationError
from sparsecomp.inspect.record import inspection
from sparsecomp.inspect.stages import Stages
from sparsecomp.lower import (
    Decision,
    build,
    callbacks,
    check_all_sparse,
    choose_kernels,
    lower,
    pack_weights,
    rules_used,
    stored_bytes,
    to_relax,
)
from sparsecomp.memory_plan import MemoryPlan
from sparsecomp.passes import pipeline, run
from sparsecomp.program import PassRecord, Program, relative_error
from sparsecomp.report import Report
from sparsecomp.runtime import TOLERANCE, Library
from sparsecomp.targets import Target, obstacle
from sparsecomp.tune.records import Records, location
from sparsecomp.tune.report import TuneReport
from sparsecomp.tune.tuner import Progress, check_device, tune_program


@dataclass
class Compilation:
    """One compile of one model.

    Attributes:
        model: what to compile.
        target: what for.
        dynamic_shapes: which sizes vary, as in ``torch.export.export``.
        verify: compare every pass and the result with the model.
        strict: refuse weights that have zeros and run dense.
        dump: directory for text files of each step, or None.
        progress: called with the name of each stage as it begins, and with how far it is before each trial of tuning.
        tune: how many schedules of each distinct layer to measure; 0: use only what is on record.
        inspect: let the report show layers, graphs and code; to find these out takes time.
    """

    model: nn.Module | ExportedProgram
    target: Target
    dynamic_shapes: Any = None
    verify: bool = True
    strict: bool = False
    dump: str | Path | None = None
    progress: Callable[[str], None] | None = None
    tune: int = 0
    inspect: bool = True
    seconds: dict[str, float] = field(default_factory=dict)
    stages: Stages = field(default_factory=Stages)

    def reference(self, *args: Any, **kwargs: Any) -> Any:
        """What the compiled program must compute."""
        model = self.model
        if isinstance(model, ExportedProgram):
            model = self.stages.programs["captured"].module
        with torch.no_grad():
            return model(*args, **kwargs)

    def assembler(self) -> Assemble:
        """What makes outputs of the model's own classes from flat ones; to be asked for after ``run``."""
        return assembler(self.stages.programs["captured"].output_spec())

    def run(self, args: Any, kwargs: dict[str, Any] | None) -> Library:
        """All stages in order; see `sparsecomp.compile` for the arguments and errors."""
        dump = Dump(self.dump)
        if self.tune:
            check_device(self.target)
        program = self.rewritten(args, kwargs, dump)
        decisions, tuning = self._decide(program)
        with self._stage("pack weights"):
            if self.strict:
                check_all_sparse(decisions.values())
            kernels = pack_weights(program, decisions)
            stored = stored_bytes(program)
        with self._stage("import"):
            module = to_relax(program, self.target, kernels)
        with self._stage("schedule"):
            module = lower(module, self.target, dump.lowered)
        with self._stage("build"):
            executable, plan = build(module, self.target)
        found: dict[str, Any] = {"tuning": tuning, "kernels": rules_used(module)}
        if self.inspect:
            with self._stage("inspect"):
                found |= inspection(self.stages, module, decisions, stored, self.target)
        return self._finish(program, executable, plan, decisions, found)

    def rewritten(self, args: Any, kwargs: dict[str, Any] | None, dump: Dump) -> Program:
        """The program after the last pass."""

        def observe(record: PassRecord, program: Program) -> None:
            dump.after_pass(record, program)
            self.stages.after_pass(record, program)

        with self._stage("capture"):
            program = capture(self.model, args, kwargs, self.dynamic_shapes)
            self.stages.captured(program)
            self._check_capture(program)
            dump.captured(program)
        with self._stage("passes"):
            run(pipeline(self.target), program, observe, self.verify)
        return program

    def _decide(self, program: Program) -> tuple[dict[str, Decision], dict[str, Any]]:
        """The decisions, and how measurements took part: those made now, or those on record that can be read."""
        try:
            with Records(location(), write=self.tune > 0) as records:
                report = self._tune(program, records) if self.tune else None
                with self._stage("choose kernels"):
                    decisions = choose_kernels(program, self.target, records.lookup(self.target))
                return decisions, _tuning(decisions, records, report)
        except TuneError as error:
            if self.tune:
                raise
            with self._stage("choose kernels"):
                return choose_kernels(program, self.target), {"notice": str(error)}

    def _tune(self, program: Program, records: Records) -> TuneReport:
        def observe(state: Progress) -> None:
            if self.progress is not None:
                self.progress(f"tune, {state.done} of {state.total} trials, {state.gain:.2f}x so far")

        with self._stage("tune"):
            return tune_program(program, self.target, records, self.tune, observe=observe)

    def _finish(
        self,
        program: Program,
        executable: Any,
        plan: MemoryPlan | None,
        decisions: Mapping[str, Decision],
        found: Mapping[str, Any],
    ) -> Library:
        signature = signature_of(program, self.model)
        weights = {
            name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in program.weights().items()
        }
        copied, error, module = shared_outputs(program), None, None
        if obstacle(self.target) is None:
            with self._stage("link"):
                module = executable.jit()
        if self.verify and module is not None:
            with self._stage("verify"):
                error = self._verify(Engine(module, list(weights.values()), signature, copied, plan), program)
        report = Report(
            model=type(self.model).__name__,
            target=self.target.name,
            signature=str(signature),
            passes=tuple(asdict(record) for record in program.log),
            seconds=dict(self.seconds),
            nodes=sum(1 for _ in program.calls()),
            weight_bytes=sum(tensor.numel() * tensor.element_size() for tensor in weights.values()),
            parts=program.parts.count,
            relative_error=error,
            decisions=tuple(decision.to_dict() for decision in decisions.values()),
            removed=tuple(each.to_dict() for each in program.removed),
            staying=tuple(each.to_dict() for each in program.staying),
            callbacks=callbacks(program),
            **found,
        )
        return Library(
            executable,
            module,
            weights,
            signature,
            copied,
            self.target,
            report,
            plan=plan,
            programs=self.stages.programs,
        )

    def _verify(self, engine: Engine, program: Program) -> float:
        outputs = engine.signature.leaves(engine(program.args, program.kwargs))
        error = relative_error(outputs, self.reference(*program.args, **program.kwargs))
        if not error <= TOLERANCE:
            raise VerificationError(
                f"verify: the compiled program differs from the model by a relative error of {error:.2e}, allowed "
                f"{TOLERANCE:.0e}; this is a bug of sparsecomp, please report it with dump=DIR"
            )
        return error

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        if self.progress is not None:
            self.progress(name)
        start = time.perf_counter()
        try:
            yield
        except SparsecompError:
            raise
        except Exception as error:  # TVM raises many types
            raise LoweringError(
                f"{name}: {error}; this is a bug or a limit of sparsecomp, please report it with dump=DIR"
            ) from error
        self.seconds[name] = time.perf_counter() - start

    def _check_capture(self, program: Program) -> None:
        if not self.verify:
            return
        error = relative_error(
            program(*program.args, **program.kwargs), self.reference(*program.args, **program.kwargs)
        )
        if not error <= TOLERANCE:
            raise CaptureError(
                f"capture: the captured graph computes something else than {type(self.model).__name__} (relative error "
                f"{error:.2e}); is it random, or does it depend on the values of its inputs?"
            )


def _tuning(decisions: Mapping[str, Decision], records: Records, report: TuneReport | None) -> dict[str, Any]:
    """For the report: how many schedules were chosen by measurement, and what these layers take."""
    chosen = [decision.chosen for decision in decisions.values() if decision.chosen is not None]
    timed = [(candidate.predicted, candidate.measured) for candidate in chosen if candidate.measured is not None]
    made = {} if report is None else {"trials": report.trials, "failed": report.failed, "ended": report.ended}
    if not timed and not made:
        return {}
    return {
        "records": None if records.path is None else str(records.path),
        "layers": len(timed),
        "predicted": sum(predicted for predicted, _ in timed),
        "measured": sum(measured for _, measured in timed),
        **made,
    }

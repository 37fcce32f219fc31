"""The compiled program: called like the model; checks and times itself against it; saves itself."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np

from sparsecomp.engine import Engine
from sparsecomp.errors import SparsecompError, TargetError, VerificationError
from sparsecomp.memory_plan import MemoryPlan
from sparsecomp.profile import Profile, profile_of
from sparsecomp.report import Report
from sparsecomp.signature import Signature
from sparsecomp.targets import Target, obstacle

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Timing:
    """Latencies of one call, in milliseconds."""

    runs: int
    minimum: float
    median: float
    p90: float
    p99: float

    @staticmethod
    def of(seconds: Sequence[float]) -> "Timing":
        """Summarise measured seconds."""
        values = np.asarray(seconds) * 1e3
        quantiles = (float(np.percentile(values, q)) for q in (50, 90, 99))
        return Timing(len(values), float(values.min()), *quantiles)

    def __str__(self) -> str:
        figures = f"median {self.median:.3f} ms, min {self.minimum:.3f}, p90 {self.p90:.3f}, p99 {self.p99:.3f}"
        return f"{figures} ({self.runs} runs)"


@dataclass(frozen=True)
class Benchmark:
    """The latency of a compiled program and, where the model is at hand, of the model in PyTorch."""

    compiled: Timing
    eager: Timing | None = None

    @property
    def speedup(self) -> float | None:
        """Median of eager over median of compiled."""
        return None if self.eager is None else self.eager.median / self.compiled.median

    def __str__(self) -> str:
        if self.eager is None:
            return f"compiled: {self.compiled}"
        return f"compiled: {self.compiled}\neager:    {self.eager}\nspeed-up: {self.speedup:.2f}"


@dataclass
class Library:
    """Machine code with everything that is needed to run or save it.

    Attributes:
        executable: what TVM compiled, to be saved; None for a program that was loaded.
        module: the same as code that can run.
        weights: the tensors that it reads, by name, in the order that it reads them.
        signature: what it takes and gives.
        copied: results that share memory with an input or a weight.
        target: the device that it is for.
        report: what the compile did.
        plan: the memory of the program as one function, if it is one.
        programs: the program at the stages that can be called, by name; none for one that was loaded.
        code: the linked shared library of a program that was loaded; empty for one that was compiled here.
    """

    executable: Any
    module: Any
    weights: Mapping[str, Any]
    signature: Signature
    copied: tuple[int, ...]
    target: Target
    report: Report
    plan: MemoryPlan | None
    programs: Mapping[str, Any] = field(default_factory=dict)
    code: bytes = b""


class Compiled:
    """A model as machine code.

    Call it like the model; torch tensors in, torch tensors out, numpy in, numpy out, without copies. Calls from several
    threads are serialised: one runs at a time, with all cores.

    Args:
        make: gives the library on the first use; the inputs of that first call are its arguments.
        reference: computes the same as the compiled program, for `verify` and `benchmark`.
        assembler: gives what makes outputs of the model's own classes from flat ones, once it is compiled.
    """

    def __init__(
        self,
        make: Callable[[tuple[Any, ...], dict[str, Any]], Library],
        reference: Callable[..., Any] | None = None,
        assembler: Callable[[], Callable[[Sequence[Any]], Any]] | None = None,
    ) -> None:
        self._make = make
        self._reference = reference
        self._assembler = assembler
        self._library: Library | None = None
        self._engine: Engine | None = None
        self._lock = RLock()  # the first use compiles: once, whatever the number of threads

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program; inputs and outputs as the model has them.

        Raises:
            InputError: the inputs are not what the program was compiled for.
            TargetError: it was compiled for another machine.
        """
        engine = self._engine or self._start(args, kwargs)
        return self._outputs(engine(args, kwargs))

    def _start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Engine:
        with self._lock:
            library = self.prepare(args, kwargs)
            reason = obstacle(library.target)
            if reason is not None:
                raise TargetError(
                    f"call: this program cannot run here: {reason}; save() it and load it on such a machine"
                )
            if self._engine is None:
                self._outputs = library.signature.outputs_by(self._assembler and self._assembler())
                weights = list(library.weights.values())
                self._engine = Engine(library.module, weights, library.signature, library.copied, library.plan)
            return self._engine

    def prepare(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Library:
        """Compile now, if that has not happened, and return the library."""
        with self._lock:
            if self._library is None:
                self._library = self._make(args, kwargs or {})
            return self._library

    @property
    def signature(self) -> Signature:
        """What the program takes and gives."""
        return self.prepare().signature

    @property
    def target(self) -> Target:
        """The device that it was compiled for."""
        return self.prepare().target

    @property
    def report(self) -> Report:
        """What the compile did."""
        return self.prepare().report

    def program(self, stage: str) -> Any:
        """The `Program` at a stage: ``"captured"``, ``"propagated"``, ``"removed"`` or ``"fused"``, the last.

        What runs in the end is no longer a program of PyTorch: `report.stages` shows it, as stage ``"lowered"``.

        Raises:
            SparsecompError: there is no such stage; the message lists those there are.
        """
        programs = self.prepare().programs
        if stage not in programs:
            raise SparsecompError(
                f"program: no stage {stage!r}; there are: {', '.join(programs) or 'none (it was loaded)'}"
            )
        return programs[stage]

    def verify(self, *args: Any, tolerance: float = TOLERANCE, **kwargs: Any) -> float:
        """Compare with the model on these inputs.

        Returns:
            The largest relative error ``||y - ref|| / ||ref||`` over the outputs.

        Raises:
            VerificationError: the error is above ``tolerance``.
            SparsecompError: the program was loaded from a file, so the model is not at hand.
        """
        from sparsecomp.program import relative_error  # a loaded program must not need torch

        error = relative_error(self(*args, **kwargs), self._model()(*args, **kwargs))
        if not error <= tolerance:
            raise VerificationError(f"verify: relative error {error:.2e} is above the allowed {tolerance:.0e}")
        return error

    def benchmark(self, *args: Any, runs: int = 50, warmup: int = 5, **kwargs: Any) -> Benchmark:
        """Time calls on these inputs, interleaved with calls of the model where it is at hand.

        Args:
            args: positional inputs.
            runs: timed calls of each.
            warmup: calls before them.
            kwargs: keyword inputs.
        """
        timed: list[Callable[..., Any]] = [self, *([self._reference] if self._reference is not None else [])]
        seconds: list[list[float]] = [[] for _ in timed]
        block = max(1, min(10, runs // 5))
        for call in timed:
            _time(call, args, kwargs, warmup)
        while len(seconds[0]) < runs:
            for call, taken in zip(timed, seconds, strict=True):
                time.sleep(0.002)  # the other's idle threads stop spinning
                _time(call, args, kwargs, 1)
                taken += _time(call, args, kwargs, min(block, runs - len(taken)))
        return Benchmark(*(Timing.of(taken) for taken in seconds))

    def explain(self, layer: str) -> str:
        """The whole story of one layer, in sentences with figures.

        Args:
            layer: path of the module (``"encoder.layer.3.output.dense"``), or the name of its weight.

        Raises:
            SparsecompError: there is no such layer; the message names those that are called nearly so.
        """
        return self.report.explain(layer)

    def profile(self, *args: Any, runs: int = 20, warmup: int = 3, **kwargs: Any) -> Profile:
        """Time every kernel of the program on these inputs.

        Args:
            args: positional inputs.
            runs: calls that are profiled, each beside one that is not.
            warmup: calls of both kinds before them.
            kwargs: keyword inputs.
        """
        engine = self._engine or self._start(args, kwargs)
        plain, profiled = [], []
        for events in engine.watched(args, kwargs, warmup + runs):
            plain += _time(self, args, kwargs, 2)[1:]  # the first finds the caches as the watched run left them
            profiled.append(events)
        return profile_of(profiled[warmup:], plain[warmup:], self.report.calls, self.report.parts)

    def save(self, path: str | Path) -> None:
        """Write the program to one file that `sparsecomp.load` runs, without torch and without the model's class.

        Raises:
            ArtifactError: there is no C compiler to link with, or the file cannot be written; no partial file is left.
        """
        from sparsecomp.artifact import save  # artifact builds on this module

        save(self.prepare(), path)

    def _repr_html_(self) -> str:
        """The report, for notebooks; looking at a program does not compile it."""
        if self._library is None:
            return "<p>A model that compiles at its first call.</p>"
        return self._library.report._repr_html_()

    def _model(self) -> Callable[..., Any]:
        if self._reference is None:
            raise SparsecompError(
                "verify needs the model, and this program was loaded from a file; verify before saving"
            )
        return self._reference


def _time(call: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], runs: int) -> list[float]:
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        call(*args, **kwargs)
        taken.append(time.perf_counter() - start)
    return taken

"""One case (a model at a sparsity) on several engines: loaded one after the other, timed in turn, compared."""

import contextlib
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.engines import OURS
from benchmarks.workers import WorkerError, WorkerProcess, taking_turns

LOAD_TIMEOUT = 1800.0


@dataclass(frozen=True)
class Case:
    """What is measured: a model of the zoo, a sparsity, and the size of its inputs (``length`` None is the model's)."""

    model: str
    sparsity: float = 0.0
    batch: int = 1
    length: int | None = None
    full: bool = True


@dataclass(frozen=True)
class Protocol:
    """How it is measured.

    Attributes:
        threads: cores that each engine may use.
        rounds: how often every engine has its turn.
        seconds: the length of one turn.
        least: calls that a turn has at least.
        lock: file to hold during a round, for machines that are shared with other measurements.
    """

    threads: int = 2
    rounds: int = 6
    seconds: float = 1.0
    least: int = 2
    lock: Path | None = None


def measure(case: Case, engines: Sequence[str], protocol: Protocol) -> dict[str, Any]:
    """Load, check and time ``engines`` on ``case``.

    Returns:
        ``{"model", "sparsity", "batch", "length", "zeros", "engines": {name: figures}, "best_dense", "ratios"}``;
        figures are ``min_ms``, ``median_ms``, ``samples_ms``, ``load_s`` and ``relative_error`` against float64, or
        only ``error`` where the engine is missing or failed.
    """
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with contextlib.ExitStack() as short:
            reference, _ = _load(case, "reference", protocol, scratch, short)
        figures: dict[str, dict[str, Any]] = {}
        workers: dict[str, WorkerProcess] = {}
        for engine in engines:
            figures[engine], worker = _load(case, engine, protocol, scratch, stack)
            if worker is not None:
                workers[engine] = worker
        _time(workers, figures, protocol)
    described = {"model": case.model, "sparsity": case.sparsity, "batch": case.batch, "length": case.length}
    return described | {"zeros": reference.get("zeros"), "engines": figures} | compare(figures)


def compare(figures: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The best dense engine, and how many times faster than it each engine is, by minima and by medians."""
    timed = {name: entry for name, entry in figures.items() if "min_ms" in entry}
    dense = {name: entry for name, entry in timed.items() if name != OURS}
    if not dense:
        return {"best_dense": None, "ratios": {}}
    best = {key: min(entry[key] for entry in dense.values()) for key in ("min_ms", "median_ms")}
    ratios = {
        name: {"min": best["min_ms"] / entry["min_ms"], "median": best["median_ms"] / entry["median_ms"]}
        for name, entry in timed.items()
    }
    return {"best_dense": min(dense, key=lambda name: dense[name]["min_ms"]), "ratios": ratios}


def _load(
    case: Case, engine: str, protocol: Protocol, scratch: Path, stack: contextlib.ExitStack
) -> tuple[dict[str, Any], WorkerProcess | None]:
    """Figures of the load, and the worker, which lives as long as ``stack``; no worker where loading failed."""
    request = {"do": "load", "engine": engine, "threads": protocol.threads, "scratch": str(scratch)}
    own = contextlib.ExitStack()
    worker = own.enter_context(WorkerProcess(protocol.threads, scratch / f"{engine}.log"))
    try:
        answer = worker.ask(request | vars(case), LOAD_TIMEOUT)
    except WorkerError as error:
        own.close()
        return {"error": str(error)}, None
    stack.push(own.pop_all())
    return answer, worker


def _time(workers: dict[str, WorkerProcess], figures: dict[str, dict[str, Any]], protocol: Protocol) -> None:
    """Rounds in which every worker has one turn; an engine that fails then keeps only its error."""
    samples: dict[str, list[float]] = {engine: [] for engine in workers}
    request = {"do": "run", "seconds": protocol.seconds, "least": protocol.least}
    for _ in range(protocol.rounds):
        with taking_turns(protocol.lock):
            for engine in list(samples):
                answer = _turn(workers[engine], request)
                samples[engine] += answer.get("samples_ms", [])
                if "error" in answer:
                    figures[engine] = answer
                    del samples[engine]
    for engine, found in samples.items():
        figures[engine] |= {"min_ms": min(found), "median_ms": statistics.median(found), "samples_ms": found}


def _turn(worker: WorkerProcess, request: dict[str, Any]) -> dict[str, Any]:
    try:
        return worker.ask(request, LOAD_TIMEOUT)
    except WorkerError as error:
        return {"error": str(error)}

"""The driver: runs passes in order, checks each against the program it was given, and names the one that failed."""

import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from sparsecomp.errors import PassError
from sparsecomp.program import PassRecord, Program, relative_error

TOLERANCE = 1e-4


class Pass(Protocol):
    """A rewrite of a program. A frozen value: its fields are its options."""

    @property
    def name(self) -> str:
        """The words of the pass, joined by hyphens."""
        ...

    def apply(self, program: Program) -> bool:
        """Rewrite ``program.module`` in place; return whether anything changed."""
        ...


Observer = Callable[[PassRecord, Program], None]


def run(passes: Iterable[Pass], program: Program, observe: Observer | None = None, verify: bool = True) -> Program:
    """Run passes in order on ``program``, in place.

    Args:
        passes: what to run.
        program: the program to rewrite; its ``log`` gets one record a pass.
        observe: called after each pass with its record and the program.
        verify: compare the outputs for the example inputs after each pass that changed something.

    Raises:
        PassError: a pass raised, left an invalid graph, denied a change, or moved the outputs by more than 1e-4
            (relative).
    """
    reference = program.example_outputs() if verify else None
    done: list[str] = []
    for pass_ in passes:
        start = time.perf_counter()
        changed = _apply(pass_, program, done)
        error = _check(pass_, program, reference, done) if changed and reference is not None else None
        seconds = time.perf_counter() - start
        program.log.append(PassRecord(pass_.name, changed, seconds, len(program.graph.nodes), error))
        done.append(pass_.name)
        if observe is not None:
            observe(program.log[-1], program)
    return program


def _apply(pass_: Pass, program: Program, done: list[str]) -> bool:
    before = _calls(program)
    try:
        changed = pass_.apply(program)
        if changed:
            program.finish()
    except Exception as error:
        raise PassError(f"pass {pass_.name} failed {_after(done)}: {error}") from error
    if not changed and _calls(program) != before:
        raise PassError(f"pass {pass_.name} {_after(done)} changed the graph and said that it did not")
    return changed


def _calls(program: Program) -> list[tuple[Any, ...]]:
    return [(node.target, node.args, node.kwargs) for node in program.graph.nodes]


def _check(pass_: Pass, program: Program, reference: list[Any], done: list[str]) -> float:
    try:
        error = relative_error(program.example_outputs(), reference)
    except Exception as cause:
        raise PassError(f"pass {pass_.name} {_after(done)} left a program that does not run: {cause}") from cause
    if not error <= TOLERANCE:
        raise PassError(
            f"pass {pass_.name} {_after(done)} changed what the program computes: relative error {error:.2e}, "
            f"allowed {TOLERANCE:.0e}; this is a bug of sparsecomp, please report it with dump=DIR"
        )
    return error


def _after(done: list[str]) -> str:
    return f"(after {', '.join(done)})" if done else "(the first pass)"

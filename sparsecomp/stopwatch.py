"""Timing programs on a machine that others use, too: in turns, so that all see the same machine."""

import statistics
import time
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.export import ExportedProgram

from sparsecomp.compilation import Compilation
from sparsecomp.prune.data import Batch
from sparsecomp.runtime import Compiled
from sparsecomp.targets import Target

SECONDS, ROUNDS, CALLS = 0.7, 7, 3  # of measuring one program, at least
CLOSE = 0.1  # to a goal, as a share of it


class Stopwatch:
    """Times compiled models in turns with the dense one, so that a machine that changes its speed does not matter.

    Args:
        model: the dense model.
        example: what it is called with.
        target: the device, which must be this machine.
    """

    def __init__(self, model: nn.Module | ExportedProgram, example: Batch, target: Target) -> None:
        self._example, self._target = example, target
        self._dense = self._compiled(model)
        self.dense_ms = statistics.median(ms for _ in range(3) for ms in in_turns(self._dense)[0])

    def measure(self, model: nn.Module | ExportedProgram, goal: float) -> float:
        """Milliseconds of a call of a model while the dense one takes ``dense_ms``: the median over rounds.

        There are more rounds where it is close to the goal and so may be what is looked for.
        """
        this = self._compiled(model)
        found = self._milliseconds(this, 1)
        if abs(statistics.median(found) / goal - 1) < CLOSE:
            found += self._milliseconds(this, 4)
        return statistics.median(found)

    def _milliseconds(self, this: Callable[[], Any], times: int) -> list[float]:
        rounds = [in_turns(self._dense, this) for _ in range(times)]
        return [self.dense_ms * b / a for dense, other in rounds for a, b in zip(dense, other, strict=True)]

    def _compiled(self, model: nn.Module | ExportedProgram) -> Callable[[], Any]:
        args, kwargs = self._example.args, self._example.kwargs
        given = (None, None) if isinstance(model, ExportedProgram) else (args, kwargs)
        work = Compilation(model, self._target, verify=False, inspect=False)
        library = work.run(*given)
        compiled = Compiled(lambda *_: library, assembler=work.assembler)
        return lambda: compiled(*args, **kwargs)


def in_turns(*calls: Callable[[], Any]) -> list[list[float]]:
    """Milliseconds of each call, one figure a round: the median of a few after one that is not counted."""
    rounds: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + SECONDS * len(calls)
    while time.perf_counter() < end or len(rounds[0]) < ROUNDS:
        for call, found in zip(calls, rounds, strict=True):
            call()
            found.append(statistics.median(_milliseconds(call) for _ in range(CALLS)))
    return rounds


def _milliseconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)

"""The process that measures: answers requests until the pipe is closed. A crash or a hang ends nothing but itself.

It is started as ``python -m sparsecomp.tune.worker DESCRIPTOR``, with the descriptor of its end of the pipe; so the
user's script is not run again, as it would be by multiprocessing.
"""

import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from sparsecomp.kernels.schedule import Schedule
from sparsecomp.targets.threads import set_up_threads
from sparsecomp.tune.timing import Layer, Operands, Runner, compare

READY = "ready"
GRACE = 10  # seconds after which a worker whose parent did not end it ends itself


@dataclass(frozen=True)
class Request:
    """What to measure.

    Attributes:
        layer: what is run.
        schedule: how.
        best: the best schedule so far, which is called in turns with it; None if there is none yet.
        limit: seconds after which nobody waits for the answer.
    """

    layer: Layer
    schedule: Schedule
    best: Schedule | None
    limit: float


class Measurer:
    """Measures requests; keeps the operands and runners of the last one, so that they are not made for each trial."""

    def __init__(self) -> None:
        self._layer: Layer | None = None
        self._operands: Operands | None = None
        self._runners: dict[Schedule, Runner] = {}

    def __call__(self, request: Request) -> tuple[float, float | None]:
        """See `compare`."""
        if request.layer != self._layer or self._operands is None:
            self._layer, self._operands, self._runners = request.layer, Operands(request.layer), {}
        wanted = [schedule for schedule in (request.schedule, request.best) if schedule is not None]
        self._runners = {schedule: runner for schedule, runner in self._runners.items() if schedule in wanted}
        for schedule in wanted:
            if schedule not in self._runners:
                self._runners[schedule] = Runner(request.layer, schedule, self._operands)
        return compare(*(self._runners[schedule] for schedule in wanted))


def serve(pipe: Connection, measure: Callable[[Any], Any]) -> None:
    """Answer each request with ``(result, None)`` or ``(None, reason)`` until the other end is closed."""
    pipe.send(READY)
    while True:
        try:
            request = pipe.recv()
        except EOFError:
            return
        signal.alarm(int(request.limit) + GRACE)
        try:
            pipe.send((measure(request), None))
        except Exception as error:  # noqa: BLE001  whatever a kernel, TVM or LLVM raises is the answer
            pipe.send((None, f"{type(error).__name__}: {error}"))
        signal.alarm(0)


if __name__ == "__main__":
    set_up_threads()
    serve(Connection(int(sys.argv[1])), Measurer())

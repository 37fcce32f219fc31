"""The worker process as seen from outside: asked, waited for, killed when it takes too long, replaced when it died."""

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from sparsecomp.errors import TuneError
from sparsecomp.tune.worker import READY, Request

START_SECONDS = 120.0
SLICE_SECONDS = 1.0
COMMAND = (sys.executable, "-m", "sparsecomp.tune.worker")


_BACKTRACE = ("File ", "!!!")  # how lines of the one that TVM prints begin


class TrialError(Exception):
    """One trial gave no time; the message says why."""


class TimeOutError(TrialError):
    """There was no answer in time."""


class Worker:
    """A process that measures; started when it is first needed, and again after it died.

    Args:
        command: what to run; the descriptor of its pipe is added.
    """

    def __init__(self, command: tuple[str, ...] = COMMAND) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115  closed by __exit__

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._messages.close()

    def ask(self, request: Request) -> tuple[float, float | None]:
        """The seconds of the schedule, and those of the best so far in its turns; see `timing.compare`.

        Raises:
            TimeOutError: there was none in time.
            TrialError: the process died, or it answered with an error.
            TuneError: no process could be started.
        """
        if self._pipe is None:
            self._start()
        assert self._pipe is not None
        try:
            self._pipe.send(request)
            seconds, failure = self._receive(self._pipe, request.limit)
        except BaseException:  # an interrupt, too, leaves a process that is busy with what nobody waits for
            self._end()
            raise
        if failure is not None:
            raise TrialError(failure)
        tried, best = seconds
        return tried, best

    def _start(self) -> None:
        self._messages.seek(0)
        self._messages.truncate()
        self._pipe, theirs = multiprocessing.Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [*self._command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._messages,
                stderr=self._messages,
                pass_fds=[theirs.fileno()],
                env=os.environ | _path(),
                start_new_session=True,  # an interrupt from the keyboard is for us, who end it
            )
        try:
            greeting = self._receive(self._pipe, START_SECONDS)
        except TrialError as error:
            self._end()
            raise TuneError(f"tune: the process that measures does not start: {error}") from error
        assert greeting == READY

    def _receive(self, pipe: Connection, limit: float) -> Any:
        slices = max(1, math.ceil(limit / SLICE_SECONDS))  # of which a pause of all of us costs one
        try:
            if any(pipe.poll(limit / slices) for _ in range(slices)):
                return pipe.recv()
        except (EOFError, OSError):
            raise TrialError(self._last_words()) from None
        raise TimeOutError(f"no result within {limit:.0f} s")

    def _last_words(self) -> str:
        """How the process ended, and the end of what it printed."""
        assert self._process is not None
        status = self._process.wait()
        how = signal.Signals(-status).name if status < 0 else f"exit code {status}"
        self._messages.seek(0)
        printed = self._messages.read().decode(errors="replace").splitlines()
        words = [line for line in printed if line.strip() and not line.lstrip().startswith(_BACKTRACE)]
        return ": ".join([f"the process died ({how})", *words[-1:]])

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None


def _path() -> dict[str, str]:
    """So that the process imports what we would import, and nothing from the directory that it happens to be in."""
    return {"PYTHONPATH": os.pathsep.join(path or "." for path in sys.path), "PYTHONSAFEPATH": "1"}

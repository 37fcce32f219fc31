"""Engines in processes of their own, of which only the one that measures is awake."""

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any


class WorkerError(Exception):
    """A worker answered with an error, died, or did not answer in time."""


class WorkerProcess:
    """One engine's process; stopped (SIGSTOP) except while it answers, so that no thread of it spins meanwhile.

    Args:
        threads: the process may use as many cores and no more.
        log: file that takes everything the engine prints.
    """

    def __init__(self, threads: int, log: Path) -> None:
        cores = sorted(os.sched_getaffinity(0))[:threads]
        # Records of tuning are used only where they are named: the same command must give the same figures everywhere.
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TVM_NUM_THREADS")
        with log.open("a") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                env={"SPARSECOMP_RECORDS": "off"} | os.environ | dict.fromkeys(names, str(threads)),
                cwd=Path(__file__).parents[1],
            )
        os.sched_setaffinity(self._process.pid, cores)

    def __enter__(self) -> "WorkerProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Wake the worker, send a request, wait for the answer, stop it again.

        Raises:
            WorkerError: the answer is an error, or there is none within ``timeout`` seconds.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], timeout)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            self._process.kill()
            raise WorkerError(f"no answer in {timeout:.0f} s" if not ready else "the process died")
        self._process.send_signal(signal.SIGSTOP)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer


@contextlib.contextmanager
def taking_turns(lock: Path | None) -> Iterator[None]:
    """Hold ``lock`` (as flock(1) does), so that measurements on a shared machine do not overlap; None holds nothing."""
    if lock is None:
        yield
        return
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

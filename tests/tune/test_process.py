"""A worker that crashes, hangs or errs costs one answer; the next request gets a new process."""

import os
import sys
from pathlib import Path

import pytest

from sparsecomp.errors import TuneError
from sparsecomp.targets import detect
from sparsecomp.tune import process
from sparsecomp.tune.process import TimeOutError, TrialError, Worker
from sparsecomp.tune.timing import Layer
from sparsecomp.tune.worker import Request

# Does what the name of the request's directory says.
FAKE = """
import ctypes, os, sys, time
from multiprocessing.connection import Connection
from sparsecomp.tune.worker import serve

def measure(request):
    match request.layer.directory.name:
        case "crash":
            print("LLVM ERROR: the reason", file=sys.stderr, flush=True)
            ctypes.string_at(0)
        case "exit":
            os._exit(3)
        case "hang":
            time.sleep(1000)
        case "error":
            raise ValueError("no such schedule")
        case "chatter":
            print("to standard output", flush=True)
    return os.getpid(), None

serve(Connection(int(sys.argv[1])), measure)
"""


def request(what, limit=60.0):
    return Request(Layer(None, detect(), Path(what), 0), None, None, limit)


@pytest.fixture(scope="module")
def worker():
    with Worker((sys.executable, "-c", FAKE)) as worker:
        yield worker


def is_alive(pid):
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return True


def test_one_process_answers_all_requests(worker):
    assert worker.ask(request("fine")) == worker.ask(request("chatter")) == worker.ask(request("fine"))
    assert worker.ask(request("fine")) != (os.getpid(), None)


@pytest.mark.parametrize(
    ("what", "message"),
    [("crash", r"the process died \(SIGSEGV\): LLVM ERROR: the reason"), ("exit", r"died \(exit code 3\)")],
)
def test_a_crash_says_how_and_the_next_request_is_answered_by_another_process(worker, what, message):
    before = worker.ask(request("fine"))
    with pytest.raises(TrialError, match=message):
        worker.ask(request(what))
    assert worker.ask(request("fine")) != before


def test_a_hang_is_ended_and_the_next_request_is_answered(worker):
    pid, _ = worker.ask(request("fine"))
    with pytest.raises(TimeOutError, match="no result within 0 s"):
        worker.ask(request("hang", limit=0.2))
    assert not is_alive(pid)
    assert worker.ask(request("fine")) != (pid, None)


def test_an_error_is_an_answer_of_the_same_process(worker):
    before = worker.ask(request("fine"))
    with pytest.raises(TrialError, match="ValueError: no such schedule"):
        worker.ask(request("error"))
    assert worker.ask(request("fine")) == before


def test_an_interrupt_ends_the_process(worker, monkeypatch):
    pid, _ = worker.ask(request("fine"))
    monkeypatch.setattr(worker, "_receive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        worker.ask(request("hang"))
    assert not is_alive(pid)


def interrupted(*_):
    raise KeyboardInterrupt


def test_leaving_ends_the_process():
    with Worker((sys.executable, "-c", FAKE)) as worker:
        pid, _ = worker.ask(request("fine"))
        assert is_alive(pid)
    assert not is_alive(pid)


def test_a_worker_whose_parent_is_gone_ends_itself():
    """The pipe is closed behind it."""
    with Worker((sys.executable, "-c", FAKE)) as worker:
        worker.ask(request("fine"))
        child = worker._process
        worker._pipe.close()
        assert child.wait(timeout=60) == 0
        worker._pipe = None


@pytest.mark.parametrize("code", ["raise SystemExit('no module')", "import time; time.sleep(1000)"])
def test_a_process_that_does_not_start_is_an_error_of_tuning(monkeypatch, code):
    monkeypatch.setattr(process, "START_SECONDS", 0.5 if "sleep" in code else 60)
    with (
        Worker((sys.executable, "-c", code)) as worker,
        pytest.raises(TuneError, match=r"does not start: .*(no module|no result)"),
    ):
        worker.ask(request("fine"))

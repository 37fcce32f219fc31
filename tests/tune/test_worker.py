"""The requests of a real process: kernels are built, checked and timed in it."""

import pytest

from sparsecomp.targets import detect
from sparsecomp.tune.process import TrialError, Worker
from sparsecomp.tune.task import collect
from sparsecomp.tune.timing import Layer
from sparsecomp.tune.worker import Measurer, Request
from tests.tune.helpers import rewritten, two_kinds


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    program = rewritten(*two_kinds())
    directories, tasks = [], collect(program, detect())
    for task in tasks:
        directories.append(tmp_path_factory.mktemp("operands"))
        task.write_operands(program, directories[-1])
    layers = [Layer(task.problem, detect(), path, 0) for task, path in zip(tasks, directories, strict=True)]
    return layers, tasks


def test_a_process_measures_schedules(prepared):
    (layer, _), (task, _) = prepared
    with Worker() as worker:
        seconds, none = worker.ask(Request(layer, task.schedules[0], None, 60))
        assert seconds > 0
        assert none is None
        assert min(worker.ask(Request(layer, task.schedules[1], task.schedules[0], 60))) > 0
        with pytest.raises(TrialError, match=r"FileNotFoundError: .*weight.npy"):
            worker.ask(
                Request(Layer(task.problem, detect(), layer.directory / "absent", 0), task.schedules[0], None, 60)
            )


def test_the_runners_of_the_last_request_are_kept(prepared):
    (layer, other), (task, another) = prepared
    first, second, third = task.schedules[:3]
    measure = Measurer()
    measure(Request(layer, first, None, 60))
    kept = measure._runners[first]
    measure(Request(layer, second, first, 60))
    assert measure._runners[first] is kept
    assert set(measure._runners) == {first, second}
    measure(Request(layer, third, first, 60))
    assert set(measure._runners) == {first, third}
    measure(Request(other, another.schedules[0], None, 60))
    assert set(measure._runners) == {another.schedules[0]}

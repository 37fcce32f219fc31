from dataclasses import replace

import pytest

from sparsecomp.errors import TuneError
from sparsecomp.targets import available, detect
from sparsecomp.tune import tuner
from sparsecomp.tune.keys import schedule_text
from sparsecomp.tune.process import TimeOutError
from sparsecomp.tune.records import Records
from sparsecomp.tune.task import collect
from sparsecomp.tune.tuner import check_arguments, check_device, tune_program
from tests.tune.helpers import FakeWorker, rewritten, two_kinds


@pytest.fixture(scope="module")
def program():
    model, x = two_kinds()
    return rewritten(model, x)


@pytest.fixture
def records():
    with Records(None, write=True) as records:
        yield records


def guesses(program):
    return [task.schedules[0] for task in collect(program, detect())]


def at_most(count, error):
    """Seconds that fall from trial to trial; ``error`` after ``count`` of them."""
    known = {}

    def seconds(schedule):
        if schedule not in known and len(known) == count:
            return error
        return known.setdefault(schedule, 1.0 / (1 + len(known)))

    return seconds


def test_every_distinct_layer_gets_its_trials_the_best_guess_first(program, records):
    worker = FakeWorker(lambda schedule: 2.0 if schedule in guesses(program) else 1.0)
    report = tune_program(program, detect(), records, 5, worker=worker)
    assert [(layer.layers, layer.trials, layer.known) for layer in report.layers] == [
        (("first", "second"), 5, 0),
        (("head",), 5, 0),
    ]
    assert [layer.first_guess for layer in report.layers] == [2.0, 2.0]
    assert [layer.best for layer in report.layers] == [1.0, 1.0]
    assert (report.gain, report.trials, report.failed, report.ended) == (2.0, 10, 0, "finished")
    first = {request.layer: request for request in reversed(worker.requests)}
    assert {request.schedule for request in first.values()} == set(guesses(program))
    assert [request.best for request in first.values()] == [None, None]


def test_each_trial_runs_next_to_the_best_so_far(program, records):
    worker = FakeWorker(at_most(100, "none"))
    tune_program(program, detect(), records, 4, worker=worker)
    mine = [request for request in worker.requests if request.layer == worker.requests[0].layer]
    assert [request.best for request in mine] == [None, *(request.schedule for request in mine[:-1])]


def test_measurements_are_kept_and_the_next_run_goes_on(program, records):
    tune_program(program, detect(), records, 3, worker=FakeWorker(lambda _: 1.0))
    again = FakeWorker(lambda _: 0.5)
    report = tune_program(program, detect(), records, 5, worker=again)
    assert [(layer.trials, layer.known) for layer in report.layers] == [(2, 3), (2, 3)]
    assert tune_program(program, detect(), records, 5, worker=again).trials == 0
    assert len(again.requests) == 4


def test_seconds_are_those_of_the_moment_at_which_the_best_was_measured(program, records):
    """The machine is twice as slow now as when the first guess was measured."""
    tune_program(program, detect(), records, 1, worker=FakeWorker(lambda _: 1.0))
    slow = FakeWorker(lambda schedule: 2.0 if schedule in guesses(program) else 1.5)
    report = tune_program(program, detect(), records, 2, worker=slow)
    assert [(layer.first_guess, layer.best) for layer in report.layers] == [(1.0, 0.75)] * 2
    task = collect(program, detect())[0]
    assert sorted(records.measured(task.key).values()) == [0.75, 1.0]


def test_failures_are_reported_and_not_tried_again(program, records):
    report = tune_program(program, detect(), records, 3, worker=FakeWorker(lambda _: "it crashed"))
    assert report.failed == report.trials == 6
    assert {failure["reason"] for layer in report.layers for failure in layer.failures} == {"it crashed"}
    assert [(layer.best, layer.first_guess, layer.schedule, layer.gain) for layer in report.layers] == [
        (None, None, None, 1.0)
    ] * 2
    assert tune_program(program, detect(), records, 3, worker=FakeWorker(lambda _: 1.0)).trials == 0


def test_one_time_out_is_not_believed(program, records):
    late = FakeWorker(lambda _: TimeOutError("late") if len(late.requests) == 1 else 1.0)
    assert tune_program(program, detect(), records, 2, worker=late).failed == 0
    assert len(late.requests) == 5


def test_a_second_time_out_is_a_failure(program, records):
    report = tune_program(program, detect(), records, 1, worker=FakeWorker(lambda _: TimeOutError("no result")))
    assert [layer.failures[0]["reason"] for layer in report.layers] == ["no result"] * 2


def test_an_interrupt_keeps_what_was_measured_and_gives_the_report(program, records):
    report = tune_program(program, detect(), records, 8, worker=FakeWorker(at_most(5, KeyboardInterrupt())))
    assert (report.ended, report.trials) == ("interrupted", 5)
    assert report.gain > 1
    kept = [records.measured(task.key) for task in collect(program, detect())]
    assert sum(map(len, kept)) == 5
    assert tune_program(program, detect(), records, 8, worker=FakeWorker(lambda _: 1.0)).trials == 16 - 5


def test_no_trial_begins_after_the_time_limit(program, records, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(tuner.time, "monotonic", lambda: next(clock))
    report = tune_program(program, detect(), records, 50, time_limit=7.5, worker=FakeWorker(lambda _: 1.0))
    assert (report.ended, report.trials) == ("time limit", 7)


def test_the_layers_that_take_longest_have_their_turn_first(program, records):
    tasks = collect(program, detect())
    for task, seconds in zip(tasks, (1e-3, 1.0), strict=True):
        records.add(task.key, schedule_text(task.schedules[0]), seconds)
    worker = FakeWorker(lambda _: 1.0)
    tune_program(program, detect(), records, 7, worker=worker)
    assert [request.layer.problem for request in worker.requests] == [tasks[1].problem] * 6 + [tasks[0].problem] * 6


def test_the_observer_sees_the_gain(program, records):
    seen = []
    tune_program(program, detect(), records, 3, observe=seen.append, worker=FakeWorker(at_most(9, "none")))
    assert [(state.done, state.total) for state in seen] == [(index, 6) for index in range(6)]
    assert seen[0].gain == 1
    assert seen[-1].gain > 1
    assert {state.layer for state in seen} == {"first", "head"}


def test_measurements_of_another_device_are_not_used(program, records):
    tune_program(program, replace(detect(), l2_bytes=1 << 24), records, 2, worker=FakeWorker(lambda _: 1.0))
    report = tune_program(program, detect(), records, 2, worker=FakeWorker(lambda _: 1.0))
    assert [layer.known for layer in report.layers] == [0, 0]


@pytest.mark.parametrize("trials", [0, -1, 2.5, "8", None, True])
def test_wrong_numbers_of_trials_are_refused(trials):
    with pytest.raises(TuneError, match="trials is a whole number of at least 1"):
        check_arguments(trials, None)


@pytest.mark.parametrize("limit", [0, -1, "60", float("nan")])
def test_wrong_time_limits_are_refused(limit):
    with pytest.raises(TuneError, match="time_limit is a positive number of seconds or None"):
        check_arguments(1, limit)


def test_another_machine_cannot_be_measured():
    other = next(target for target in available() if target.arch != detect().arch)
    with pytest.raises(TuneError, match=f"{other.name} cannot be measured here: it is for {other.arch}.*tune on such"):
        check_device(other)
    check_device(detect())

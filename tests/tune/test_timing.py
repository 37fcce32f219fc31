"""Kernels are really built and called here, once or twice each; how long they take is nobody's business."""

from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest
from torch import nn

from sparsecomp.targets import detect
from sparsecomp.tune import timing
from sparsecomp.tune.task import collect
from sparsecomp.tune.timing import FIRST_CALLS, LEAST_CALLS, Layer, Operands, Runner, WrongResultError, compare
from tests.graphs import net, tensor
from tests.tune.helpers import rewritten, sparse, two_kinds


def prepared(model, x, directory, passing=0):
    program = rewritten(model, x)
    task = collect(program, detect())[0]
    task.write_operands(program, directory)
    layer = Layer(task.problem, detect(), directory, passing)
    return layer, task.schedules, Operands(layer)


def convolution():
    model = net(lambda net, x: (net.conv(x) + x).relu(), conv=nn.Conv2d(16, 16, 3, padding=1))
    sparse(model.conv)
    return model, tensor(1, 16, 9, 9)


@pytest.mark.parametrize("make", [two_kinds, convolution])
def test_schedules_compute_what_pytorch_does(tmp_path, make):
    layer, schedules, operands = prepared(*make(), tmp_path)
    for schedule in (schedules[0], schedules[-1]):
        assert Runner(layer, schedule, operands)() > 0


def test_a_wrong_result_is_refused(tmp_path):
    layer, schedules, operands = prepared(*two_kinds(), tmp_path)
    operands.expected = operands.expected * 1.01
    with pytest.raises(WrongResultError, match=r"something else than PyTorch .relative error 9.9e-03"):
        Runner(layer, schedules[0], operands)


def test_weights_are_cold_where_those_of_other_layers_pass(tmp_path):
    """Each call reads another copy of the weight, and the same input and output."""
    layer, schedules, operands = prepared(*two_kinds(), tmp_path)
    assert len(Runner(layer, schedules[0], operands)._arguments) == 1
    runner = Runner(replace(layer, passing=100_000), schedules[0], operands)
    copies = runner._arguments
    assert len(copies) >= 5
    assert len({id(values[1]) for values in copies}) == len(copies)
    assert {id(values[0]) for values in copies} == {id(operands.x)}
    for _ in copies:
        runner()
    np.testing.assert_allclose(operands.y.numpy(), operands.expected, rtol=1e-4, atol=1e-4)
    limited = Runner(replace(layer, passing=1 << 40), schedules[0], operands)
    assert len(limited._arguments) == timing.MOST_COPIES


def clocked(*seconds):
    times = cycle(seconds)
    return lambda: next(times)


def test_alone_a_schedule_has_its_median():
    assert compare(clocked(1.0, 2.0, 9.0)) == (2.0, None)


def test_the_ratio_is_that_of_neighbouring_calls():
    """The machine becomes ten times slower and recovers, for both alike; one call in three is disturbed."""
    speed = [1.0, 10.0, 1.0, 5.0, 2.0]
    tried = clocked(*(2 * slowness for slowness in speed))
    best = clocked(*(4 * slowness * (1 if index % 3 else 7) for index, slowness in enumerate(speed * 3)))
    seconds, reference = compare(tried, best)
    assert seconds / reference == 0.5


def test_a_hopeless_schedule_is_called_a_few_times_only():
    calls = []

    def slow():
        calls.append("slow")
        return 8.0

    seconds, reference = compare(slow, clocked(1.0))
    assert (seconds, reference) == (8.0, 1.0)
    assert len(calls) == FIRST_CALLS
    compare(slow, clocked(4.0))
    assert len(calls) == FIRST_CALLS + FIRST_CALLS + LEAST_CALLS

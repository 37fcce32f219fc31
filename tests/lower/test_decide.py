"""What decide does with measurements."""

import torch

from sparsecomp.capture import capture
from sparsecomp.kernels.problem import Epilogue, LinearProblem
from sparsecomp.lower.decide import decide
from sparsecomp.passes import PIPELINE, run
from sparsecomp.targets import detect
from tests.tune.helpers import rewritten, two_kinds


def head(measured):
    return next(item for item in decide(rewritten(*two_kinds()), detect(), measured).values() if item.layer == "head")


def test_the_fastest_that_was_measured_is_chosen():
    guess = head(None).candidates[0]

    def measured(problem, shape, stats, schedules):
        return {schedules[0]: 3.0, schedules[20]: 1.0, schedules[10]: 2.0}

    decision = head(measured)
    assert [candidate.measured for candidate in decision.candidates[:4]] == [1.0, 2.0, 3.0, None]
    assert decision.chosen.measured == 1.0
    assert decision.candidates[2].schedule == guess.schedule
    assert "the fastest of 3 measured, 3.00 times as fast as the first guess" in decision.reason
    assert decision.to_dict()["chosen"]["measured"] == 1.0


def test_dense_is_compared_with_sparse_where_both_were_measured():
    def measured(problem, shape, stats, schedules):
        dense = next(schedule for schedule in schedules if not getattr(schedule, "sparse", False))
        sparse = next(schedule for schedule in schedules if getattr(schedule, "sparse", False))
        return {dense: 1.0, sparse: 4.0}

    decision = head(measured)
    assert not decision.chosen.is_sparse
    assert "4.00 times as fast as sparse" in decision.reason


def test_where_nothing_was_measured_the_cost_model_chooses():
    assert head(lambda *_: {}) == head(None)
    assert head(None).chosen.measured is None
    assert "predicted" in head(None).reason


def test_the_shape_is_that_of_the_example():
    shapes = []
    head(lambda problem, shape, stats, schedules: shapes.append(list(shape)) or {})
    assert shapes == [[8, 48], [8, 48], [8, 96]]


def test_where_the_tokens_vary_those_of_the_example_judge_the_schedules():
    tokens = torch.export.Dim("tokens", min=2, max=512)
    problems = {}
    for example in (5, 300):
        program = capture(torch.nn.Linear(64, 32).eval(), (torch.ones(1, example, 64),), None, ({1: tokens},))
        run(PIPELINE, program)
        (decision,) = decide(program, detect()).values()
        problems[example] = decision.problem
    assert problems[5] == LinearProblem(None, 64, 32, Epilogue(bias=True), likely=5)
    assert problems[300].judged == 300

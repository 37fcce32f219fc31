from dataclasses import replace

import pytest

from sparsecomp.kernels.schedule import ColumnSchedule, FeatureSchedule
from sparsecomp.tune.keys import schedule_text
from sparsecomp.tune.search import Search

COLUMNS = [
    ColumnSchedule(rows, vectors, depth, 1, True, False, 8, 2)
    for rows in (1, 2, 4, 8)
    for vectors in (1, 2, 3, 4, 5, 6)
    for depth in (16, 32, 64, 128)
]
DENSE = [replace(schedule, sparse=False) for schedule in COLUMNS[:3]]
FEATURES = [FeatureSchedule(tokens, 2, depth, 8, 2) for tokens in (4, 8) for depth in (64, 128)]
ALL = [*COLUMNS, *DENSE, *FEATURES]


def seconds_of(schedule):
    """Smooth in the fields, least far from the first guesses."""
    if isinstance(schedule, FeatureSchedule) or not schedule.sparse:
        return 20.0
    return 1 + abs(schedule.rows - 4) + abs(schedule.vectors - 5) + abs(schedule.depth - 64) / 16


def run(search):
    tried = []
    while (schedule := search.propose()) is not None:
        tried.append(schedule)
        search.tell(schedule, seconds_of(schedule))
    return tried


def test_a_small_space_is_enumerated_in_order():
    assert run(Search(COLUMNS[:5], 64, {})) == COLUMNS[:5]
    assert run(Search(COLUMNS[:5], 5, {})) == COLUMNS[:5]


@pytest.mark.parametrize("trials", [1, 2, 3, 40])
def test_a_large_space_gets_its_trials_none_twice_the_best_guess_first(trials):
    tried = run(Search(ALL, trials, {}))
    assert len(set(tried)) == len(tried) == trials
    assert tried[0] == ALL[0]


def test_the_best_guess_of_the_other_kind_is_tried_early():
    assert DENSE[0] in run(Search(ALL, 8, {}))[:4]


def test_the_sampler_learns():
    """It comes closer to the best than the same number of guesses does, in a space that it sees a quarter of."""
    guesses = min(map(seconds_of, ALL[:25]))
    assert min(map(seconds_of, run(Search(ALL, 25, {})))) < guesses


def test_the_search_is_the_same_every_time():
    assert run(Search(ALL, 20, {})) == run(Search(ALL, 20, {}))


def test_what_is_known_counts_and_is_not_tried_again():
    known = {schedule_text(COLUMNS[0]): 1.0, schedule_text(COLUMNS[1]): None, "a schedule of the past": 0.5}
    search = Search(ALL, 6, known)
    assert search.left == 4
    tried = run(search)
    assert len(tried) == 4
    assert not {COLUMNS[0], COLUMNS[1]} & set(tried)
    assert search.left == 0


def test_schedules_that_fail_are_not_tried_again():
    search, tried = Search(ALL, 30, {}), []
    while (schedule := search.propose()) is not None:
        tried.append(schedule)
        search.tell(schedule, None)
    assert len(set(tried)) == len(tried) == 30

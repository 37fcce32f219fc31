from dataclasses import replace

import pytest

from sparsecomp.kernels.cost import WeightStats
from sparsecomp.kernels.problem import Epilogue, LinearProblem
from sparsecomp.kernels.schedule import ColumnSchedule, FeatureSchedule
from sparsecomp.targets import detect
from sparsecomp.tune.keys import distance, kernel_version, key_of, schedule_text

PROBLEM = LinearProblem(8, 16, 32)
STATS = WeightStats.unstructured(0.1)
KEY = key_of(detect(), PROBLEM, (8, 16), STATS)


def test_equal_layers_have_equal_keys():
    assert key_of(detect(), LinearProblem(8, 16, 32), [8, 16], WeightStats.unstructured(0.1)) == KEY


@pytest.mark.parametrize(
    "other",
    [
        key_of(replace(detect(), l2_bytes=detect().l2_bytes + 1), PROBLEM, (8, 16), STATS),
        key_of(detect(), replace(PROBLEM, epilogue=Epilogue(bias=True)), (8, 16), STATS),
        key_of(detect(), PROBLEM, (9, 16), STATS),
        key_of(detect(), PROBLEM, (8, 16), WeightStats.unstructured(0.2)),
    ],
    ids=["device", "problem", "input", "pattern"],
)
def test_whatever_changes_the_time_changes_the_key(other):
    assert other != KEY


def test_the_number_of_threads_belongs_to_the_device(monkeypatch):
    monkeypatch.setenv("TVM_NUM_THREADS", str(detect().cores))
    assert key_of(detect(), PROBLEM, (8, 16), STATS) == KEY
    monkeypatch.setenv("TVM_NUM_THREADS", str(detect().cores + 1))
    assert key_of(detect(), PROBLEM, (8, 16), STATS).device != KEY.device


def test_a_schedule_is_one_line_that_tells_kinds_apart():
    column, feature = ColumnSchedule(1, 2, 3, 4, True, False, 8, 2), FeatureSchedule(1, 2, 3, 8, 2)
    texts = [schedule_text(schedule) for schedule in (column, replace(column, depth=4), feature)]
    assert len(set(texts)) == 3
    assert not any("\n" in text for text in texts)


def test_near_patterns_are_near_and_others_are_not():
    def pattern(density):
        return key_of(detect(), PROBLEM, (8, 16), WeightStats.unstructured(density)).pattern

    assert distance(pattern(0.1), pattern(0.1)) == 0
    assert 0 < distance(pattern(0.1), pattern(0.1005)) < distance(pattern(0.1), pattern(0.103))
    assert distance(pattern(0.1), pattern(0.12)) is None
    assert distance("[0.1]", "[0.1, 0.2]") is None


def test_a_block_pattern_is_not_near_an_unstructured_one_of_the_same_density():
    blocks = replace(STATS, stored=tuple(0.1 for _ in STATS.stored))
    assert distance(key_of(detect(), PROBLEM, (8, 16), blocks).pattern, KEY.pattern) is None


def test_the_version_names_the_family():
    assert kernel_version().startswith("row-panel-")

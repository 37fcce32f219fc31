from pathlib import Path

import pytest

from benchmarks.measure import Case, Protocol, compare, measure
from benchmarks.workers import WorkerError, WorkerProcess


def test_ratios_are_to_the_best_dense_engine_by_minimum_and_by_median() -> None:
    found = compare(
        {
            "eager": {"min_ms": 8.0, "median_ms": 12.0},
            "onnxruntime": {"min_ms": 4.0, "median_ms": 9.0},
            "openvino": {"min_ms": 5.0, "median_ms": 6.0},
            "sparsecomp": {"min_ms": 2.0, "median_ms": 3.0},
        }
    )
    assert found["best_dense"] == "onnxruntime"
    assert found["ratios"]["sparsecomp"] == {"min": 2.0, "median": 2.0}
    assert found["ratios"]["eager"] == {"min": 0.5, "median": 0.5}


def test_our_own_time_is_no_dense_engine() -> None:
    assert compare({"sparsecomp": {"min_ms": 1.0, "median_ms": 1.0}}) == {"best_dense": None, "ratios": {}}


def test_an_engine_that_failed_takes_no_part() -> None:
    found = compare({"eager": {"min_ms": 8.0, "median_ms": 9.0}, "openvino": {"error": "no module"}})
    assert found["ratios"] == {"eager": {"min": 1.0, "median": 1.0}}


def test_an_engine_runs_in_a_process_of_its_own_and_a_missing_one_is_only_reported() -> None:
    how = Protocol(threads=1, rounds=2, seconds=0.0)
    result = measure(Case("mobilenetv2", 0.9, full=False), ["nonesuch", "eager"], how)
    eager = result["engines"]["eager"]
    assert eager["relative_error"] < 1e-5
    assert len(eager["samples_ms"]) == 4
    assert 0 < eager["min_ms"] <= eager["median_ms"]
    assert result["zeros"] == pytest.approx(0.9, abs=1e-3)
    assert "nonesuch" in result["engines"]["nonesuch"]["error"]
    assert result["best_dense"] == "eager"


def test_a_worker_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    with (
        WorkerProcess(1, tmp_path / "log") as worker,
        pytest.raises(WorkerError, match="no answer"),
    ):
        worker.ask({"do": "run"}, timeout=0.0)

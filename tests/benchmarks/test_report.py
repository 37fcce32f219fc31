import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report, spine
from benchmarks.measure import Protocol, compare


def result(sparsity: float, ours: dict[str, Any]) -> dict[str, Any]:
    engines = {"eager": {"min_ms": 8.0, "median_ms": 9.0, "relative_error": 1e-7, "load_s": 0.1}, "sparsecomp": ours}
    case = {"model": "bert", "sparsity": sparsity, "batch": 1, "length": None, "zeros": sparsity}
    return case | {"engines": engines} | compare(engines)


def ours(milliseconds: float, error: float = 1e-6) -> dict[str, Any]:
    return {"min_ms": milliseconds, "median_ms": milliseconds, "relative_error": error, "load_s": 5.0}


def test_the_table_has_a_row_a_case_and_says_what_failed() -> None:
    results = [result(0.9, ours(4.0)), result(0.95, {"error": "Boom: no\nmore"})]
    rows = report.table(results, ["eager", "sparsecomp"]).splitlines()
    assert rows[2] == "| bert | 90 % | 8.00 | 4.00 | 2.00 (2.25) |"
    assert rows[3] == "| bert | 95 % | 8.00 | failed | - |"
    assert report.failures(results) == ["bert at 95 %: sparsecomp: failed: Boom: no"]


def test_the_json_holds_what_is_needed_to_judge_the_figures(tmp_path: Path) -> None:
    report.write_json(tmp_path, [result(0.9, ours(4.0))], Protocol(lock=tmp_path / "lock"))
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored.keys() == {"schema", "date", "machine", "versions", "protocol", "results"}
    assert stored["schema"] == report.SCHEMA
    assert stored["machine"].keys() >= {"processor", "cores", "caches", "memory_bytes", "extensions"}
    assert stored["versions"]["torch"]
    assert stored["protocol"] == {"threads": 2, "rounds": 6, "seconds": 1.0, "least": 2}
    assert stored["results"][0]["ratios"]["sparsecomp"]["min"] == 2.0


def test_the_plot_is_drawn_where_there_are_ratios_of_ours(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report.write(tmp_path / "with", [result(0.0, ours(9.0)), result(0.9, ours(4.0))], ["eager"], Protocol())
    assert (tmp_path / "with" / "speedup.png").read_bytes().startswith(b"\x89PNG")
    report.write(tmp_path / "without", [result(0.9, {"error": "none"})], ["eager"], Protocol())
    assert not (tmp_path / "without" / "speedup.png").exists()


@pytest.mark.parametrize(
    ("figures", "verdict"),
    [
        (ours(8.0), "ok"),
        (ours(25.0), "slow"),
        (ours(8.0, error=1e-3), "wrong: relative error 1.0e-03"),
        (ours(8.0, error=float("nan")), "wrong: relative error nan"),
        ({"error": "LoweringError: aten.foo\n  at x.py"}, "failed: LoweringError: aten.foo"),
    ],
)
def test_the_verdict_on_a_model(figures: dict[str, Any], verdict: str) -> None:
    assert spine.verdict(result(0.0, figures)) == verdict
    assert spine.table([result(0.0, figures)]).splitlines()[2].endswith(f"| {verdict} |")

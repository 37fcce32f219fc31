import json
from io import StringIO

import pytest
from rich.console import Console

from sparsecomp.tune.report import LayerTuning, TuneReport, gain


def layer(name="conv", first=4e-3, best=2e-3, layers=1, failures=()):
    return LayerTuning(
        layers=tuple(f"{name}{index}" for index in range(layers)),
        problem="a problem",
        density=0.1,
        schedules=100,
        trials=12,
        known=3,
        failures=failures,
        predicted=1e-3,
        first_guess=first,
        best=best,
        schedule='{"rows": 1}' if best else None,
    )


FAILED = layer("failed", None, None, failures=({"schedule": '{"rows": [2]}', "reason": "the process died (SIGSEGV)"},))
REPORT = TuneReport(
    "native", "/tmp/records.sqlite", 12.0, "interrupted", (layer(layers=3), layer("head", 1e-3, 1e-3), FAILED)
)


def test_totals_count_every_layer_of_the_network():
    assert REPORT.gain == pytest.approx((3 * 4 + 1) / (3 * 2 + 1))
    assert (REPORT.trials, REPORT.failed) == (36, 1)
    assert [item.gain for item in REPORT.layers] == [2, 1, 1]


def test_what_was_not_measured_gains_nothing():
    assert gain([]) == gain([(None, 1.0, 2), (None, None, 1)]) == 1


def test_it_is_json():
    data = json.loads(json.dumps(REPORT.to_dict()))
    assert (data["gain"], data["trials"], data["failed"], data["ended"]) == (REPORT.gain, 36, 1, "interrupted")
    assert [item["gain"] for item in data["layers"]] == [2, 1, 1]
    assert data["layers"][2]["failures"][0]["reason"] == "the process died (SIGSEGV)"


def test_text_says_how_it_ended_what_it_gained_and_what_failed():
    assert str(REPORT).splitlines() == [
        "tuned 3 distinct layers for native in 12 s, stopped early (interrupted)",
        "36 trials, 1 failed; measurements are kept in /tmp/records.sqlite",
        "predicted gain of the network's linear layers and convolutions: 1.86x",
        '  the process died (SIGSEGV): {"rows": [2]}',
    ]
    finished = str(TuneReport("native", None, 1.0, "finished", ()))
    assert "stopped" not in finished
    assert "not kept" in finished


def test_the_table_has_the_slowest_layers_first():
    console = Console(width=120, record=True, file=StringIO())
    console.print(REPORT)
    lines = console.export_text().splitlines()
    rows = [line.split()[0] for line in lines if "ms" in line or line.strip().startswith("failed")]
    assert rows == ["conv0", "head0", "failed0"]
    assert any("conv0 and 2 alike" in line and "4.000 ms" in line and "2.00x" in line for line in lines)
    assert any('{"rows": [2]}' in line for line in lines)

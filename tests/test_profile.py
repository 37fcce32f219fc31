"""Where the time of a call goes."""

import json

import numpy as np
import pytest
from rich.console import Console

import sparsecomp
from sparsecomp.engine import Event
from sparsecomp.profile import profile_of
from tests.graphs import assert_close
from tests.inspect.models import compiled, inputs, model

CALLS = [
    {"function": "conv", "rule": "conv", "nodes": ["a", "b"], "layers": ["first", "second"], "inputs": ["x"]},
    {"function": "conv", "rule": "conv", "nodes": ["c"], "layers": ["first"], "inputs": [0]},
    {"function": "exp", "rule": "elementwise", "nodes": [], "layers": [], "inputs": [1]},
]


def made(*runs):
    events = [
        [Event("vm.builtin.alloc", 0.0, 9.0), Event("conv", 1.0, a), Event("conv", 2.0, b), Event("exp", 3.0, c)]
        for a, b, c in runs
    ]
    return profile_of(events, [8.0, 10.0, 9.0], CALLS)


def test_times_are_medians_and_belong_to_layers():
    profile = made((1.0, 2.0, 3.0), (2.0, 3.0, 4.0), (9.0, 9.0, 9.0))
    assert [kernel.seconds for kernel in profile.kernels] == [2.0, 3.0, 4.0]
    assert [kernel.took for kernel in profile.kernels] == [2.0, 3.0, 4.0]
    assert (profile.seconds, profile.latency, profile.rest) == (9.0, 9.0, 0.0)
    assert profile.by_layer() == {"first": 5.0, "": 4.0}
    assert profile.seconds_of_nodes() == {"a": 2.0, "b": 2.0, "c": 3.0}


def test_the_parts_of_a_batch_add_up():
    events = [[Event(name, start, 1.0 + start) for start, name in enumerate(["conv", "conv", "exp"] * 2)]] * 3
    profile = profile_of(events, [30.0], CALLS, parts=2)
    assert [kernel.seconds for kernel in profile.kernels] == [1.0 + 4.0, 2.0 + 5.0, 3.0 + 6.0]
    assert [kernel.took for kernel in profile.kernels] == [1.0, 2.0, 3.0]


def test_another_program_is_refused():
    with pytest.raises(AssertionError, match="other calls than it has"):
        profile_of([[Event("exp", 0.0, 1.0)]], [1.0], CALLS)


def test_the_trace_has_an_event_a_kernel(tmp_path):
    made((1.0, 2.0, 3.0)).to_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert [event["name"] for event in events] == ["first", "first", "exp"]
    assert [(event["ts"], event["dur"]) for event in events] == [(1e6, 1e6), (2e6, 2e6), (3e6, 3e6)]
    assert {event["ph"] for event in events} == {"X"}


def test_a_program_is_profiled_and_goes_on_working(tmp_path):
    profile = compiled().profile(*inputs(), runs=3)
    assert [kernel.function for kernel in profile.kernels] == [call["function"] for call in compiled().report.calls]
    assert all(kernel.seconds > 0 for kernel in profile.kernels)
    assert {"conv", "body", "hidden", "head"} <= set(profile.by_layer())
    starts = [kernel.start for kernel in profile.kernels]
    assert starts == sorted(starts)
    assert_close(compiled()(*inputs()), model()(*inputs()).detach())
    profile.to_json(tmp_path / "profile.json")
    assert json.loads((tmp_path / "profile.json").read_text())["runs"] == 3


def test_a_profile_gives_layers_measured_times():
    profile = compiled().profile(*inputs(), runs=2)
    report = compiled().report.with_profile(profile)
    took = profile.seconds_of_nodes()
    for row, before in zip(report.layers, compiled().report.layers, strict=True):
        assert row["measured"] == took[row["nodes"][0]]
        assert row["gflops"] == pytest.approx(2 * row["macs"] / row["measured"] / 1e9)
        assert row["predicted"] == before["predicted"]
    assert sum(row["share"] for row in report.layers) == pytest.approx(1)
    assert "measured to take" in report.explain("hidden")


def test_a_loaded_program_is_profiled_too(tmp_path):
    compiled().save(tmp_path / "model.spc")
    profile = sparsecomp.load(tmp_path / "model.spc").profile(np.asarray(inputs()[0]), runs=2)
    assert "hidden" in profile.by_layer()


def test_it_prints():
    console = Console(record=True, width=120)
    console.print(made((1.0, 2.0, 3.0)))
    text = console.export_text()
    assert "elementwise" in text
    assert "3 kernels take" in text

"""The report as data and as text."""

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from sparsecomp.report import Report

entries = st.dictionaries(
    st.text(max_size=4), st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=4), max_size=3
)
reports = st.builds(
    Report,
    model=st.text(max_size=4),
    target=st.text(max_size=4),
    signature=st.text(max_size=4),
    passes=st.lists(entries, max_size=3).map(tuple),
    seconds=st.dictionaries(st.text(max_size=4), st.floats(0, 9), max_size=3),
    nodes=st.integers(0, 99),
    weight_bytes=st.integers(0, 1 << 40),
    relative_error=st.none() | st.floats(0, 1),
    kernels=st.dictionaries(st.text(max_size=4), st.integers(1, 9), max_size=3),
    decisions=st.lists(entries, max_size=3).map(tuple),
    removed=st.lists(entries, max_size=3).map(tuple),
    staying=st.lists(entries, max_size=3).map(tuple),
    callbacks=st.lists(st.text(max_size=4), max_size=3).map(tuple),
)
REPORT = Report(
    model="Net",
    target="native",
    signature="(x: float32[2])",
    passes=({"name": "canonicalize", "changed": True, "seconds": 0.125}, {"name": "eliminate-dead", "changed": False}),
    seconds={"capture": 1.25, "build": 0.5},
    nodes=3,
    weight_bytes=2_500_000,
    relative_error=1.5e-6,
    kernels={"linear": 2, "elementwise": 1},
)


@given(reports)
def test_json_round_trip(report):
    assert Report.from_dict(json.loads(json.dumps(report.to_dict()))) == report


def test_the_file_is_json(tmp_path):
    REPORT.to_json(tmp_path / "report.json")
    assert Report.from_dict(json.loads((tmp_path / "report.json").read_text())) == REPORT


def test_text_says_what_was_done():
    assert str(REPORT).splitlines() == [
        "Net for native: 3 operators, 2.5 MB, relative error 1.5e-06",
        "inputs  (x: float32[2])",
        "seconds capture 1.2, build 0.5",
        "passes  canonicalize 0.12",
        "kernels elementwise x1, linear x2",
    ]


def test_text_says_what_was_removed_and_what_stays_and_why():
    removed = ({"layer": "stem", "removed": 3}, {"layer": "head", "removed": 4})
    staying = ({"layer": "body", "idle": 2, "slices": 8, "reasons": (("mix has no rule", 2),)},)
    assert str(replace(REPORT, removed=removed, staying=staying)).splitlines()[5:] == [
        "removed 7 slices, in 2 groups",
        "stays   2 of 8 in body: mix has no rule",
    ]


def test_text_says_when_nothing_was_verified():
    assert "not verified" in str(Report("Net", "native", "()", (), {}, 0, 0))

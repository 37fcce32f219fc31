"""Graphs as text, JSON, DOT and SVG."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sparsecomp.errors import SparsecompError
from sparsecomp.inspect import STAGES, to_dot, to_json, to_networkx, to_svg, to_text
from sparsecomp.inspect.diff import diff
from tests.inspect.models import compiled

needs_graphviz = pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz (the program dot) is not installed")
ROOT = Path(__file__).parent.parent.parent
PRINT = """
import sys
from sparsecomp.inspect import STAGES, diff, to_dot, to_json, to_text
from tests.inspect.models import compiled
report = compiled().report
for stage in STAGES:
    view = report.stage(stage)
    sys.stdout.write(to_text(view) + to_json(view) + to_dot(view))
for before, after in zip(STAGES, STAGES[1:]):
    found = diff(report.stage(before), report.stage(after))
    sys.stdout.write(found.to_text() + found.to_dot() + found.to_json())
"""


def view(stage):
    return compiled().report.stage(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_text(stage, golden):
    golden(f"view-{stage}.txt", to_text(view(stage)))


@pytest.mark.parametrize("stage", ["removed", "lowered"])
def test_dot(stage, golden):
    golden(f"view-{stage}.dot", to_dot(view(stage), view("captured")))


def test_difference(golden):
    golden("diff-captured-fused.txt", diff(view("captured"), view("fused")).to_text())


def test_two_processes_write_the_same():
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SPARSECOMP_RECORDS": "off"}
    texts = []
    for seed in ("1", "2"):
        given = {**environment, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", PRINT], env=given, cwd=ROOT, capture_output=True, check=True)
        texts.append(done.stdout)
    assert texts[0] == texts[1]
    assert len(texts[0]) > 10_000


def test_json_is_the_view():
    assert json.loads(to_json(view("fused"))) == view("fused")


def test_the_graph_has_calls_inputs_and_outputs_and_their_edges():
    graph = to_networkx(view("fused"))
    assert not any(graph.nodes[name]["entry"]["kind"] == "weight" for name in graph)
    assert list(graph.successors("inputs_0")) == ["conv_default"]


def test_what_is_gone_is_dotted():
    text = to_dot(view("fused"), view("captured"))
    gone = next(line for line in text.splitlines() if "batch_norm" in line)
    assert "dotted" in gone
    assert "batch_norm" not in to_dot(view("fused"))


@needs_graphviz
def test_svg():
    assert "</svg>" in to_svg(to_dot(view("captured")))


def test_without_graphviz_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(SparsecompError, match="apt install graphviz"):
        to_svg("digraph {}")


@needs_graphviz
def test_what_graphviz_cannot_read_is_an_error_of_ours():
    with pytest.raises(SparsecompError, match="graphviz failed"):
        to_svg("no graph")

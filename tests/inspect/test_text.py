"""Names of the user, harmless wherever they are written."""

import csv
import io
import json
import subprocess

import pytest
from rich.console import Console

from sparsecomp.inspect.diff import diff
from sparsecomp.inspect.graph import node
from sparsecomp.inspect.render import line, to_dot, to_json, to_svg, to_text
from sparsecomp.inspect.tables import to_csv, to_markdown
from sparsecomp.inspect.text import cell, dot, markdown, plain
from sparsecomp.report import Report
from tests.inspect.models import compiled
from tests.inspect.test_render import needs_graphviz

NASTY = [
    "<script>alert(1)</script>",
    "a\"b'c`d\\e",
    "naïve.слой.层.🙂",
    "x" * 10_000,
    "[red]stop[/red] [link=file:///etc/passwd]here[/link]",
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "\x1b[31mred\x1b[0m\x07",
    "one\ntwo\r\n| three |",
    "\u202eright to left",
    "\u061c\ufeff\u2060 no width",
    "half a pair \ud83d",
    "}; digraph evil { a -> b",
    "&lt;![CDATA[",
]


def report(name):
    row = {**compiled().report.layers[0], "layer": name, "weight": name, "dense": name, "reason": name}
    view = {"stage": "captured", "nodes": [node(name, "call", name, name, "f32[1]", 0.5, name, inputs=[name])]}
    return Report(name, name, name, (), {name: 1.0}, 1, 1, layers=(row,), stages=(view,), callbacks=(name,))


@pytest.mark.parametrize("name", NASTY)
def test_a_terminal_shows_one_line_without_control(name):
    shown = plain(name)
    assert shown.isprintable()
    assert len(shown) <= 201


@pytest.mark.parametrize("name", NASTY)
def test_rich_neither_reads_markup_nor_sends_escapes(name):
    console = Console(file=io.StringIO(), width=400, force_terminal=True, color_system="truecolor")
    console.print(report(name))
    text = console.file.getvalue()
    assert "\x1b[31mred" not in text
    assert "\x1b]8" not in text
    assert "\x07" not in text
    if name.startswith("[red]"):
        assert "[red]stop[/red]" in text


@pytest.mark.parametrize("name", NASTY)
def test_markdown_has_no_html_and_no_cells_of_its_own(name):
    text = to_markdown(report(name))
    assert "<" not in text
    head, _, row, _ = (each for each in text.splitlines() if each.startswith("|"))
    assert row.replace("\\|", "").count("|") == head.count("|")


@pytest.mark.parametrize("name", NASTY)
def test_csv_has_no_formulas_and_keeps_names_whole(name):
    (row,) = csv.DictReader(io.StringIO(to_csv(report(name)), newline=""))
    assert row["layer"].removeprefix("'") == name.replace("\ud83d", "\\ud83d")
    assert to_csv(report(name)).encode()
    assert row["layer"][0] not in "=+-@\t\r"


@pytest.mark.parametrize(
    ("value", "written"), [("=1", "'=1"), (" -1", "' -1"), (-1.5, -1.5), (None, ""), ("a=1", "a=1")]
)
def test_cells(value, written):
    assert cell(value) == written


@pytest.mark.parametrize("name", NASTY)
def test_text_has_one_line_a_node(name):
    assert len(to_text(report(name).stages[0]).splitlines()) == 1
    assert line(report(name).stages[0]["nodes"][0]).isprintable()


@pytest.mark.parametrize("name", NASTY)
def test_dot_has_one_node(name):
    text = to_dot(report(name).stages[0])
    assert text.count("label=") == 1 + (name in report(name).stages[0]["nodes"][0]["inputs"])
    assert all(each.count('"') - each.count('\\"') in (0, 2, 4) for each in text.splitlines())


@needs_graphviz
@pytest.mark.parametrize("name", NASTY)
def test_graphviz_reads_it_and_makes_no_markup(name):
    picture = to_svg(to_dot(report(name).stages[0]))
    assert "<script" not in picture
    done = subprocess.run(
        ["dot", "-Tplain"], input=to_dot(report(name).stages[0]).encode(), capture_output=True, check=True
    )
    assert done.stdout.decode().count("\nnode ") == 1


@pytest.mark.parametrize("name", NASTY)
def test_names_survive_json(name, tmp_path):
    report(name).to_json(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["layers"][0]["layer"] == name
    assert json.loads(to_json(report(name).stages[0]))["nodes"][0]["id"] == name


@pytest.mark.parametrize("name", NASTY)
def test_explain_and_diff_stay_printable(name):
    found = report(name)
    assert all(each.isprintable() for each in found.explain(name).splitlines())
    other = {"stage": "fused", "nodes": []}
    assert all(each.isprintable() for each in diff(found.stages[0], other).to_text().splitlines())


def test_escapes():
    assert markdown("<b>|a|*") == "&lt;b&gt;\\|a\\|\\*"
    assert dot('a"b\\N') == '"a\\"b\\\\N"'

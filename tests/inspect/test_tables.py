"""Reports for terminals, as Markdown and CSV."""

import csv
import io

from rich.console import Console

from tests.inspect.models import compiled


def printed(width):
    console = Console(file=io.StringIO(), width=width)
    console.print(compiled().report)
    return console.file.getvalue()


def test_a_wide_terminal_shows_every_column():
    text = printed(200)
    for word in ("shape", "pattern", "removed", "GFLOP/s", "2 zero outputs", "2 out 2 in", "hidden", "roof"):
        assert word in text


def test_a_narrow_terminal_shows_fewer_and_breaks_no_name():
    text = printed(80)
    assert "GFLOP/s" not in text
    assert all(layer in text for layer in ("conv", "body", "hidden", "head"))
    assert max(map(len, text.splitlines())) <= 80


def test_predictions_have_a_star():
    report = compiled().report
    assert "*" in printed(200)
    measured = tuple({**row, "measured": 1e-3} for row in report.layers)
    from dataclasses import replace

    assert "\\*" not in replace(report, layers=measured).to_markdown()


def test_markdown_has_a_row_a_layer():
    rows = [line for line in compiled().report.to_markdown().splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 4
    assert len({line.count("|") for line in rows}) == 1


def test_csv_has_numbers():
    rows = list(csv.DictReader(io.StringIO(compiled().report.to_csv())))
    assert [row["layer"] for row in rows] == ["conv", "body", "hidden", "head"]
    assert float(rows[2]["predicted"]) == compiled().report.layers[2]["predicted"]
    assert rows[0]["shape"] == "8x3x3x3"
    assert "sparse=True" in rows[2]["schedule"]

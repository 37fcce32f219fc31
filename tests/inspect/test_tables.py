"""Reports for terminals, as Markdown and CSV."""

import csv
import io
import math
from dataclasses import replace

from rich.console import Console

import sparsecomp
from sparsecomp.inspect.tables import COLUMNS
from tests.inspect.models import compiled, inputs, model


def printed(width):
    console = Console(file=io.StringIO(), width=width)
    console.print(compiled().report)
    return console.file.getvalue()


def test_a_wide_terminal_shows_every_column():
    text = printed(200)
    for word in (
        "shape",
        "pattern",
        "removed",
        "GFLOP/s",
        "2 zero outputs",
        "2 out 2 in",
        "hidden",
        "roof",
        "MB before",
        "total",
    ):
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
    assert "\\*" not in replace(report, layers=measured).to_markdown()


def test_markdown_has_a_row_a_layer():
    rows = [line for line in compiled().report.to_markdown().splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 4 + 1  # head, layers, total
    assert len({line.count("|") for line in rows}) == 1


def test_csv_has_numbers():
    rows = list(csv.DictReader(io.StringIO(compiled().report.to_csv())))
    assert [row["layer"] for row in rows] == ["conv", "body", "hidden", "head"]
    assert float(rows[2]["predicted"]) == compiled().report.layers[2]["predicted"]
    assert rows[0]["shape"] == "8x3x3x3"
    assert "sparse=True" in rows[2]["schedule"]


def test_the_total_adds_the_layers_up():
    layers = [{**row, "measured": 1e-3} for row in compiled().report.layers]
    text = replace(compiled().report, layers=tuple(layers)).to_markdown()
    total = next(line for line in text.splitlines() if line.startswith("| total")).split(" | ")
    assert total[COLUMNS.index("time")] == "4.000 ms" and total[COLUMNS.index("share")] == "100 %"
    assert total[COLUMNS.index("MB before")] == f"{sum(row['bytes_before'] for row in layers) / 1e6:.3g}"
    weights = [math.prod(row["shape"]) for row in layers]
    nonzeros = sum(row["density"] * size for row, size in zip(layers, weights, strict=True))
    assert total[COLUMNS.index("density")] == f"{nonzeros / sum(weights):.3f}"


def test_a_narrow_terminal_shows_what_is_in_the_weights_of_a_model_that_is_not_compiled():
    console = Console(file=io.StringIO(), width=80)
    console.print(sparsecomp.inspect(model(), inputs()))
    assert "2 zero outputs" in console.file.getvalue()
    assert max(map(len, console.file.getvalue().split("times with a star")[0].splitlines())) <= 80

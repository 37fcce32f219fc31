"""A report as tables: for a terminal, as Markdown, as CSV."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from sparsecomp.inspect.text import cell, markdown, plain

if TYPE_CHECKING:
    from sparsecomp.report import Report

Row = Mapping[str, Any]
TITLES = ("layer", "op", "shape", "pattern", "density", "removed", "format", "kernel")
FIGURES = ("time", "share", "GFLOP/s", "roof", "MB before", "after")
COLUMNS = TITLES + FIGURES
WIDE = 160  # characters; narrower terminals are shown fewer columns
NARROW = ("layer", "density", "format", "time", "share", "roof")
NARROW_MODEL = ("layer", "pattern", "density", "removed", "time", "share")  # before a compile: what is in the weights
CSV = (
    *("layer", "weight", "op", "shape", "shape_after", "pattern", "density", "outputs_removed", "inputs_removed"),
    *("format", "kernel", "schedule", "function", "predicted", "measured", "dense_predicted", "share", "macs"),
    *("macs_dense", "gflops", "roofline", "bytes_before", "bytes_after", "reason", "dense"),
)


def rich_report(report: "Report") -> Group:
    """What `rich` prints: the layers, what targets gain, and the summary."""
    parts: list[Any] = []
    if report.layers:
        narrow = NARROW_MODEL if report.gains else NARROW
        parts.append(_Layers([*map(_cells, report.layers), _total(report.layers)], narrow))
    if report.gains:
        parts.append(_table(("target", "dense", "as it is", "faster by"), gain_cells(report)))
    return Group(*parts, Text(str(report)))


@dataclass(frozen=True)
class _Layers:
    """The table of the layers, the last row their total; a narrow terminal is shown fewer columns."""

    cells: Sequence[Sequence[str]]
    narrow: Sequence[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        titles = COLUMNS if options.max_width >= WIDE else self.narrow
        columns = [COLUMNS.index(title) for title in titles]
        yield _table(titles, [[row[index] for index in columns] for row in self.cells], total=True)
        yield Text("times with a star are predicted\n") if any("*" in row[8] for row in self.cells) else Text("")


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], total: bool = False) -> Table:
    """A table for a terminal; with ``total`` a line goes before the last row."""
    table = Table(box=SIMPLE)
    for index, title in enumerate(titles):
        left = index == 0 or title in ("op", "shape", "pattern", "format", "kernel")
        whole = left and index > 0 and title != "pattern"
        table.add_column(title, justify="left" if left else "right", overflow="fold", no_wrap=whole)
    for number, row in enumerate(rows, start=1):
        table.add_row(*(Text(plain(value)) for value in row), end_section=total and number == len(rows) - 1)
    return table


def _cells(row: Row) -> list[str]:
    time = row["measured"] or row["predicted"]
    lost = [f"{row[key]} {name}" for key, name in (("outputs_removed", "out"), ("inputs_removed", "in")) if row[key]]
    return [
        str(row["layer"]),
        str(row["op"]),
        "x".join(map(str, row["shape"])),
        str(row["pattern"]),
        f"{row['density']:.3f}",
        "all" if not row["nodes"] else " ".join(lost),
        str(row["format"]),
        str(row["kernel"]),
        milliseconds(time) + ("" if row["measured"] or not time else " *"),
        percent(row["share"]),
        "" if row["gflops"] is None else f"{row['gflops']:.1f}",
        percent(row["roofline"]),
        megabytes(row["bytes_before"]),
        megabytes(row["bytes_after"]),
    ]


def _total(rows: Sequence[Row]) -> list[str]:
    """The row under the layers; the time is that of the layers whose time is known."""
    timed = [row for row in rows if row["measured"] or row["predicted"]]
    time = sum(row["measured"] or row["predicted"] for row in timed)
    sizes = [math.prod(row["shape"]) for row in rows]
    nonzeros = sum(row["density"] * size for row, size in zip(rows, sizes, strict=True))
    lost = [
        f"{count} {name}"
        for key, name in (("outputs_removed", "out"), ("inputs_removed", "in"))
        if (count := sum(row[key] for row in rows))
    ]
    figures = {
        "layer": "total",
        "density": f"{nonzeros / max(sum(sizes), 1):.3f}",
        "removed": " ".join(lost),
        "time": milliseconds(time) + ("" if all(row["measured"] for row in timed) else " *") if timed else "",
        "share": percent(1.0) if timed else "",
        "GFLOP/s": f"{2 * sum(row['macs'] for row in timed) / time / 1e9:.1f}" if timed else "",
        "MB before": megabytes(sum(row["bytes_before"] for row in rows)),
        "after": megabytes(sum(row["bytes_after"] for row in rows)),
    }
    return [figures.get(title, "") for title in COLUMNS]


def megabytes(size: int) -> str:
    """``"1.23"``: millions of bytes, as many digits as tell sizes of layers apart."""
    return f"{size / 1e6:.3g}" if size < 1e9 else f"{size / 1e6:.0f}"


def milliseconds(seconds: float | None) -> str:
    """``"1.234 ms"``; empty for None."""
    return "" if seconds is None else f"{seconds * 1e3:.3f} ms"


def percent(share: float | None) -> str:
    """``"12 %"``; empty for None."""
    return "" if share is None else f"{100 * share:.0f} %"


def gain_cells(report: "Report") -> list[list[str]]:
    """For each target what its layers are predicted to take, dense and as they are, and the ratio."""
    return [
        [str(gain["target"]), milliseconds(gain["dense"]), milliseconds(gain["predicted"]), f"{gain['speedup']:.2f}x"]
        for gain in report.gains
    ]


def to_markdown(report: "Report") -> str:
    """The summary and the tables as Markdown; a time with ``*`` is a prediction."""
    lines = [f"# {markdown(report.model)} for {markdown(report.target)}", ""]
    lines += [f"- {markdown(line)}" for line in str(report).splitlines()[1:]]
    if report.layers:
        lines += ["", *_markdown_table(COLUMNS, [*map(_cells, report.layers), _total(report.layers)])]
        lines += ["", "Times with a star are predicted.", ""]
    if report.gains:
        lines += ["", *_markdown_table(("target", "dense", "as it is", "faster by"), gain_cells(report))]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    head = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    return head + [f"| {' | '.join(markdown(value) for value in row)} |" for row in rows]


def to_csv(report: "Report") -> str:
    """The layers as CSV, one row each, seconds and bytes as plain numbers."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV)
    for row in report.layers:
        writer.writerow([_csv_cell(row[name]) for name in CSV])
    return out.getvalue()


def _csv_cell(value: Any) -> object:
    if isinstance(value, list | tuple):
        return "x".join(map(str, value))
    if isinstance(value, Mapping):
        return " ".join(f"{name}={each}" for name, each in value.items())
    return cell(value)

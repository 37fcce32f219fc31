"""Reports as small HTML tables for notebooks. Every text is escaped; styles are inline, since notebooks drop others."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

MOST = 40
LONGEST = 120


def report_html(report: Mapping[str, Any]) -> str:
    """The layers of a compile: what was found, how they run, how fast.

    Args:
        report: what `Report.to_dict` gives.
    """
    error = report["relative_error"]
    verified = "not verified" if error is None else f"relative error {error:.1e}"
    head = f"{report['nodes']} operators, {report['weight_bytes'] / 1e6:.1f} MB, {verified}"
    rows = [
        (
            _text(row["layer"]),
            _text("×".join(map(str, row["shape"]))),
            _bar(row["density"]),
            _text(row["pattern"]),
            _text(row["format"] or "removed"),
            _text(_milliseconds(row["dense_predicted"])),
            _text(_milliseconds(row["predicted"] if row["measured"] is None else row["measured"])),
        )
        for row in report["layers"]
    ]
    names = ("layer", "weight", "density", "pattern", "stored as", "dense, ms", "compiled, ms")
    return _title(f"{report['model']} for {report['target']}", head) + _table(names, rows)


def prune_html(report: Mapping[str, Any], head: str) -> str:
    """The weights that pruning saw.

    Args:
        report: what `PruneReport.to_dict` gives.
        head: a line about it.
    """
    rows = [
        (
            _text(layer["name"]),
            _text("×".join(map(str, layer["shape"]))),
            _bar(layer["density"]),
            _text(layer["pattern"] or "dense"),
            _text(layer["note"]),
        )
        for layer in report["layers"]
    ]
    return _title(report["model"], head) + _table(("weight", "shape", "density", "pattern", "note"), rows)


def tune_html(report: Mapping[str, Any], head: str) -> str:
    """The groups of layers that were tuned.

    Args:
        report: what `TuneReport.to_dict` gives.
        head: a line about it.
    """
    rows = [
        (
            _text(", ".join(layer["layers"])),
            _text(layer["problem"]),
            _bar(layer["density"]),
            _text(_milliseconds(layer["first_guess"])),
            _text(_milliseconds(layer["best"])),
            f"{layer['gain']:.2f}",
        )
        for layer in report["layers"]
    ]
    names = ("layers", "problem", "density", "first guess, ms", "best, ms", "gain")
    return _title(f"Tuning for {report['target']}", head) + _table(names, rows)


def _title(name: str, text: str) -> str:
    return f"<p><strong>{_text(name)}</strong><br>{_text(text, 400)}</p>"


def _text(text: str, most: int = LONGEST) -> str:
    """Escaped, and cut where it is longer than anybody reads."""
    return escape(text if len(text) <= most else f"{text[: most - 1]}…")


def _bar(share: float) -> str:
    """A share as a number over a bar."""
    bar = f"<div style='background:#0b7a6e;height:4px;width:{100 * share:.0f}%'></div>"
    frame = f"<div style='background:#8884;width:64px'>{bar}</div>"
    return f"{100 * share:.3g} %{frame}"


def _milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1e3:.3g}"


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already; of a long one the beginning."""
    every = list(rows)
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in every[:MOST])
    rest = f"<p>… and {len(every) - MOST} more</p>" if len(every) > MOST else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"

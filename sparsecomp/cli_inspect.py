"""The command ``inspect``."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from sparsecomp.report import Report

out = Console()


class Form(str, Enum):
    """How a graph is written."""

    text = "text"
    json = "json"
    dot = "dot"
    svg = "svg"


def inspect(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A MODEL.pt2 or a compiled MODEL.spc.", exists=True, dir_okay=False)
    ],
    layer: Annotated[str | None, typer.Option(help="Tell the whole story of one layer.")] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report as JSON.")] = None,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report as Markdown.")] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the layers as CSV.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page for the browser.")] = None,
    graph: Annotated[
        str | None,
        typer.Option(metavar="STAGE", help="Print a graph: captured, propagated, removed, fused, lowered."),
    ] = None,
    diff: Annotated[
        tuple[str, str] | None, typer.Option(metavar="STAGE STAGE", help="Print what changed between two stages.")
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="Of a graph or a difference.")] = Form.text,
) -> None:
    """Show what is in a model, or what a compile did to it.

    For a MODEL.pt2: the structure that its weights have, what would be removed, how each layer would run on this
    machine, and what each target is predicted to gain. For a MODEL.spc: what the compile found, removed and chose.
    """
    import sparsecomp

    report = sparsecomp.inspect(file)
    for path, text in ((markdown, report.to_markdown), (csv, report.to_csv)):
        if path is not None:
            path.write_text(text(), encoding="utf-8")
    if json is not None:
        report.to_json(json)
    if html is not None:
        report.to_html(html)
    written = [path for path in (json, markdown, csv, html) if path is not None]
    if layer is not None:
        print_plainly(report.explain(layer))
    elif diff is not None or graph is not None:
        print_plainly(_graph(report, graph, diff, form).rstrip("\n"))
    elif not written:
        out.print(report)
    for path in written:
        out.print(f"wrote {path}", highlight=False, markup=False)


def _graph(report: "Report", stage: str | None, pair: tuple[str, str] | None, form: Form) -> str:
    from sparsecomp.inspect import diff, to_dot, to_json, to_svg, to_text

    if pair is not None:
        found = diff(*(report.stage(name) for name in pair))
        ways = {Form.text: found.to_text, Form.json: found.to_json, Form.dot: found.to_dot}
        return to_svg(found.to_dot()) if form is Form.svg else ways[form]()
    assert stage is not None
    view = report.stage(stage)
    if form is Form.svg:
        return to_svg(to_dot(view))
    return {Form.text: to_text, Form.json: to_json, Form.dot: to_dot}[form](view)


def print_plainly(text: str) -> None:
    """As it is: no markup, no colours, no wrapping."""
    out.print(text, highlight=False, markup=False, soft_wrap=True)

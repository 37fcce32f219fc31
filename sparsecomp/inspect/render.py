"""A graph as text, JSON, DOT and SVG; the same for every run."""

import json
import shutil
import subprocess
from collections.abc import Iterable
from typing import Any

from sparsecomp.errors import SparsecompError
from sparsecomp.inspect.graph import GraphView, ViewNode
from sparsecomp.inspect.text import dot, plain

COLOURS = ("#c6dbef", "#9ecae1", "#6baed6", "#4292c6", "#2171b5")
"""From a density of nearly 0 to 1 (ColorBrewer Blues): what is dense is dark."""
_STYLE = (
    '  node [shape=box, style="rounded,filled", fontname=sans, fontsize=10];',
    "  edge [fontname=sans, fontsize=8];",
)
SECONDS = 120  # for graphviz to lay out


def to_text(view: GraphView) -> str:
    """One line a node: ``%id: type = op(%inputs; %weights)  # layer, density, facts``."""
    return "".join(f"{line(each)}\n" for each in view["nodes"])


def line(node: ViewNode) -> str:
    """The line of one node."""
    if node["kind"] == "output":
        return f"return {_names(node['inputs'])}"
    head = f"%{plain(node['id'])}: {node['type']} = "
    if node["kind"] == "call":
        weights = f"; {_names(node['weights'])}" if node["weights"] else ""
        head += f"{plain(node['op'])}({_names(node['inputs'])}{weights})"
    else:
        head += f"{node['kind']} {plain(node['op'])}"
    density = "" if node["density"] is None else f"density {node['density']:.4g}"
    notes = [note for note in (plain(node["layer"]), density, plain(node["facts"], 400)) if note]
    return f"{head}  # {', '.join(notes)}" if notes else head


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"%{plain(name)}" for name in names)


def to_json(view: GraphView) -> str:
    """The view itself."""
    return json.dumps(view, indent=1) + "\n"


def to_networkx(view: GraphView, before: GraphView | None = None) -> Any:
    """A directed graph: nodes with the entries of the view, edges from what is computed to what reads it.

    Args:
        view: what to show.
        before: an earlier stage; its calls that are gone are nodes with ``removed`` set.
    """
    import networkx as nx  # takes a while, and most uses of the package show no graph

    graph = nx.DiGraph()
    here = {each["id"] for each in view["nodes"]}
    computed = {name for each in view["nodes"] for name in each["origin"]}
    gone = [
        each
        for each in (before["nodes"] if before else ())
        if each["kind"] == "call" and each["id"] not in here and each["id"] not in computed
    ]
    for removed, nodes in ((False, view["nodes"]), (True, gone)):
        for each in nodes:
            if each["kind"] != "weight":
                graph.add_node(each["id"], removed=removed, entry=each)
    for name in list(graph):
        for source in graph.nodes[name]["entry"]["inputs"]:
            if source in graph:
                graph.add_edge(source, name)
    return graph


def to_dot(view: GraphView, before: GraphView | None = None) -> str:
    """The graph in the DOT language: shapes on the edges, colours by density, what is gone since ``before`` dotted."""
    graph = to_networkx(view, before)
    numbers = {name: f"n{index}" for index, name in enumerate(graph)}
    lines = [
        f"digraph {dot(view['stage'])} {{",
        '  node [shape=box, style="rounded,filled", fontname=sans, fontsize=10];',
    ]
    lines.append("  edge [fontname=sans, fontsize=8];")
    lines += [f"  {numbers[name]} [{_attributes(data)}];" for name, data in graph.nodes(data=True)]
    for source, name in graph.edges:
        entry = graph.nodes[source]["entry"]
        gone = graph.nodes[source]["removed"] or graph.nodes[name]["removed"]
        style = ", style=dotted" if gone else ""
        lines.append(f"  {numbers[source]} -> {numbers[name]} [label={dot(_edge(entry))}{style}];")
    return "\n".join([*lines, "}"]) + "\n"


def _edge(entry: ViewNode) -> str:
    return f"{entry['type']} ({entry['facts']})" if entry["facts"] else entry["type"]


def _attributes(data: dict[str, ViewNode]) -> str:
    entry = data["entry"]
    density = entry["density"]
    words = [entry["id"], entry["op"] if entry["kind"] == "call" else entry["kind"], entry["layer"]]
    if density is not None:
        words.append(f"density {density:.4g}")
    label = r"\n".join(dot(word)[1:-1] for word in words if word)
    if data["removed"]:
        return f'label="{label}", style="rounded,dotted", fontcolor=gray40'
    if density is None:
        return f'label="{label}", fillcolor=white'
    level = min(int(density * len(COLOURS)), len(COLOURS) - 1)
    dark = ", fontcolor=white" if level > 2 else ""
    return f'label="{label}", fillcolor="{COLOURS[level]}"{dark}'


def to_svg(source: str) -> str:
    """A picture of a graph in the DOT language.

    Raises:
        SparsecompError: graphviz is not installed, or fails.
    """
    program = shutil.which("dot")
    if program is None:
        raise SparsecompError(
            "inspect: an SVG needs the program dot of graphviz (apt install graphviz, brew install graphviz); "
            "write DOT instead, which needs nothing"
        )
    try:
        done = subprocess.run(
            [program, "-Tsvg"], input=source.encode(), capture_output=True, timeout=SECONDS, check=True
        )
    except (subprocess.SubprocessError, OSError) as error:
        raise SparsecompError(f"inspect: graphviz failed: {getattr(error, 'stderr', None) or error}") from error
    return done.stdout.decode()

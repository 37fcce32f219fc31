"""A program at one stage as plain data: what pages, dumps and diffs are made of. JSON types only; needs no torch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from sparsecomp.errors import SparsecompError

STAGES = ("captured", "propagated", "removed", "fused", "lowered")
"""The stages of which a compile keeps a view: as captured; before removal, with what is known of every tensor; after
it; after fusion of what follows a linear or convolution; as calls of machine code."""


class ViewNode(TypedDict):
    """One tensor of the graph.

    Attributes:
        id: its name, unique in the view.
        kind: what makes it.
        op: the operator of a call (``"aten.linear.default"``), the function of machine code of a lowered one; the name
            of an input or weight; empty for the output.
        layer: path of the module in the user's model that it belongs to; empty if none is known.
        type: element type and sizes (``"f32[1, 64]"``).
        density: share of nonzeros of a weight, or of the largest weight that a call reads; None where there is none.
        facts: what is known of its slices whatever the input is; empty if nothing is.
        inputs: the tensors that a call reads, weights left out; what the output returns.
        weights: the weights that a call reads.
        origin: of a lowered call the ids of the calls of the stage before that it computes.
    """

    id: str
    kind: Literal["input", "weight", "call", "output"]
    op: str
    layer: str
    type: str
    density: float | None
    facts: str
    inputs: list[str]
    weights: list[str]
    origin: list[str]


class GraphView(TypedDict):
    """The graph at a stage; nodes come after what they read."""

    stage: str
    nodes: list[ViewNode]


def node(
    id: str,
    kind: Literal["input", "weight", "call", "output"],
    op: str = "",
    layer: str = "",
    type: str = "",
    density: float | None = None,
    facts: str = "",
    inputs: Iterable[str] = (),
    weights: Iterable[str] = (),
    origin: Iterable[str] = (),
) -> ViewNode:
    """A `ViewNode` with what is not said left empty."""
    return {
        "id": id,
        "kind": kind,
        "op": op,
        "layer": layer,
        "type": type,
        "density": density,
        "facts": facts,
        "inputs": list(inputs),
        "weights": list(weights),
        "origin": list(origin),
    }


def stage_of(views: Sequence[GraphView], stage: str) -> GraphView:
    """The view of this stage.

    Raises:
        SparsecompError: there is none; the message lists those there are.
    """
    found: Mapping[str, GraphView] = {view["stage"]: view for view in views}
    if stage not in found:
        raise SparsecompError(f"inspect: there is no stage {stage!r}; there are: {', '.join(found) or 'none'}")
    return found[stage]


def lowered_view(fused: GraphView, calls: Sequence[Mapping[str, Any]], results: Sequence[int | str]) -> GraphView:
    """The calls of machine code as a graph; each takes its name from the last node of ``fused`` that it computes.

    Args:
        fused: the graph that was lowered.
        calls: the calls, with the entries of `sparsecomp.lower.KernelCall`.
        results: what is returned: indices of calls, or names of inputs.
    """
    known = {each["id"]: each for each in fused["nodes"]}
    names = _unique([call["nodes"][-1] if call["nodes"] else call["function"] for call in calls])
    kept = [each for each in fused["nodes"] if each["kind"] == "input"]
    read = {weight for call in calls for name in call["nodes"] for weight in known[name]["weights"]}
    made = [_lowered(call, name, names, known) for call, name in zip(calls, names, strict=True)]
    weights = [each for each in fused["nodes"] if each["kind"] == "weight" and each["id"] in read]
    output = node("output", "output", inputs=[_name(source, names) for source in results])
    return {"stage": "lowered", "nodes": [*kept, *weights, *made, output]}


def _lowered(call: Mapping[str, Any], name: str, names: Sequence[str], known: Mapping[str, ViewNode]) -> ViewNode:
    origin = [known[each] for each in call["nodes"]]
    heaviest = max(origin, key=lambda each: len(each["weights"]), default=None)
    return node(
        name,
        "call",
        call["function"],
        next(iter(call["layers"]), ""),
        origin[-1]["type"] if origin else "",
        heaviest["density"] if heaviest else None,
        inputs=[_name(source, names) for source in call["inputs"]],
        weights=dict.fromkeys(weight for each in origin for weight in each["weights"]),
        origin=call["nodes"],
    )


def _unique(names: Sequence[str]) -> list[str]:
    """The names, those that came before with a number."""
    counts: dict[str, int] = {}
    found = []
    for name in names:
        counts[name] = counts.get(name, -1) + 1
        found.append(f"{name}.{counts[name]}" if counts[name] else name)
    return found


def _name(source: int | str, names: Sequence[str]) -> str:
    return names[source] if isinstance(source, int) else source

"""The graphs of all stages drawn as one: what a step of the compiler replaces keeps its place on the page.

Weights are left out; they belong to the call that reads them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SHOWN = ("kind", "op", "layer", "type", "density", "facts")


@dataclass
class Slot:
    """A place in the drawing.

    Attributes:
        views: for each stage the node that is there, None where there is none.
    """

    views: list[Mapping[str, Any] | None]

    def to_list(self) -> list[dict[str, Any] | None]:
        """For each stage what the page shows of its node, with the node's id."""
        return [None if v is None else {"id": v["id"], **{key: v.get(key) for key in SHOWN}} for v in self.views]


@dataclass
class Union:
    """The drawing of several stages.

    Attributes:
        stages: their names.
        slots: every place.
        order: the places, each after those that it reads in the stage where it first appears.
        edges: from a reader's source to the reader: a bit for each stage that has the edge.
        shaping: the edges that decide the layout. The others run beside a path that later stages have cut short.
    """

    stages: list[str]
    slots: list[Slot] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    edges: dict[tuple[int, int], int] = field(default_factory=dict)
    shaping: set[tuple[int, int]] = field(default_factory=set)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types; slots in their order, edges as ``[source, reader, bits, shaping]``."""
        place = {slot: position for position, slot in enumerate(self.order)}
        edges = [[place[edge[0]], place[edge[1]], bits, int(edge in self.shaping)] for edge, bits in self.edges.items()]
        return {
            "stages": self.stages,
            "slots": [self.slots[slot].to_list() for slot in self.order],
            "edges": sorted(edges),
        }


def union(views: Sequence[Mapping[str, Any]]) -> Union:
    """Give every node of every stage a place.

    A node has the place of the node of the same id. A new one takes that of a node which vanished and of which it says
    that it comes, or with which it shares a weight, or which did the work of the same layer; else a place of its own.

    Args:
        views: the stages in order, as `sparsecomp.inspect.graph.GraphView`.
    """
    drawing = Union([view["stage"] for view in views])
    known: dict[str, int] = {}
    last: dict[str, Mapping[str, Any]] = {}
    for stage, view in enumerate(views):
        nodes = {node["id"]: node for node in view["nodes"] if node["kind"] != "weight"}
        first = len(drawing.slots)
        here = _places(drawing, nodes, known, last)
        for name, slot in here.items():
            drawing.slots[slot].views[stage] = nodes[name]
        _connect(drawing, nodes, here, stage, first)
        known |= here
        last = nodes
    return drawing


def _places(
    drawing: Union,
    nodes: Mapping[str, Mapping[str, Any]],
    known: Mapping[str, int],
    last: Mapping[str, Mapping[str, Any]],
) -> dict[str, int]:
    """The slot of every node of a stage."""
    vanished = {name: node for name, node in last.items() if name not in nodes}
    here = {name: known[name] for name in nodes if name in known}
    taken = set(here.values())
    before = -1
    for name, node in nodes.items():
        if name not in here:
            free = {each: other for each, other in vanished.items() if known[each] not in taken}
            old = _predecessor(node, free)
            here[name] = known[old] if old is not None else _new(drawing, before)
            taken.add(here[name])
        before = here[name]
    return here


def _predecessor(node: Mapping[str, Any], vanished: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The vanished node whose place a new one takes."""
    origin, weights, layer = set(node.get("origin") or ()), set(node["weights"]), node["layer"]
    tests = (
        lambda name, _: name in origin,
        lambda _, old: bool(weights & set(old["weights"])),
        lambda _, old: bool(layer) and layer == old["layer"] and bool(weights) == bool(old["weights"]),
    )
    for test in tests:
        for name, old in vanished.items():
            if test(name, old):
                return name
    return None


def _new(drawing: Union, before: int) -> int:
    """A slot that is drawn after ``before``."""
    slot = len(drawing.slots)
    drawing.slots.append(Slot([None] * len(drawing.stages)))
    drawing.order.insert(drawing.order.index(before) + 1 if before >= 0 else 0, slot)
    return slot


def _connect(
    drawing: Union, nodes: Mapping[str, Mapping[str, Any]], here: Mapping[str, int], stage: int, first: int
) -> None:
    for name, node in nodes.items():
        for source in node["inputs"]:
            if source not in here or here[source] == here[name]:
                continue
            edge = here[source], here[name]
            drawing.edges[edge] = drawing.edges.get(edge, 0) | 1 << stage
            if max(edge) >= first:
                drawing.shaping.add(edge)

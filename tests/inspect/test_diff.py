"""What changed between two graphs."""

import json

from sparsecomp.inspect import diff
from sparsecomp.inspect.graph import node


def graph(stage, *nodes):
    return {"stage": stage, "nodes": list(nodes)}


X, Y, Z = node("x", "input", "x"), node("y", "call", "exp", type="f32[4]", inputs=["x"]), node("z", "call", "log")
FOUND = diff(graph("captured", X, Y), graph("fused", X, {**Y, "type": "f32[3]"}, Z))


def test_nodes_are_the_same_where_their_names_are():
    assert (FOUND.removed, FOUND.added) == ((), ("z",))
    assert FOUND.changed == {"y": {"type": ("f32[4]", "f32[3]")}}
    assert diff(FOUND.after, FOUND.before).removed == ("z",)


def test_text_counts_and_shows_the_lines():
    assert FOUND.to_text().splitlines() == [
        "captured -> fused: 0 removed, 1 added, 1 changed",
        "--- captured",
        "+++ fused",
        "@@ -1,2 +1,3 @@",
        " %x:  = input x",
        "-%y: f32[4] = exp(%x)",
        "+%y: f32[3] = exp(%x)",
        "+%z:  = log()",
    ]


def test_equal_graphs_differ_in_nothing():
    assert diff(graph("a", X), graph("b", X)).to_text() == "a -> b: 0 removed, 0 added, 0 changed\n"


def test_json():
    data = json.loads(FOUND.to_json())
    assert (data["before"], data["added"], data["changed"]["y"]["type"]) == ("captured", ["z"], ["f32[4]", "f32[3]"])

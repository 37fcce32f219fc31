"""Views as data."""

import pytest

from sparsecomp.errors import SparsecompError
from sparsecomp.inspect.graph import lowered_view, node, stage_of

FUSED = {
    "stage": "fused",
    "nodes": [
        node("x", "input", "x", type="f32[2]"),
        node("w", "weight", "a.weight", density=0.5),
        node("linear", "call", "sparsecomp.linear.default", "a", "f32[2]", 0.5, inputs=["x"], weights=["w"]),
        node("exp", "call", "aten.exp.default", "", "f32[2]", inputs=["linear"]),
        node("output", "output", inputs=["exp"]),
    ],
}


def call(function, nodes, inputs, layers=()):
    return {"function": function, "rule": function, "nodes": nodes, "layers": list(layers), "inputs": inputs}


def test_a_lowered_call_is_named_after_the_last_node_that_it_computes():
    view = lowered_view(FUSED, [call("k", ["linear", "exp"], ["x"], ["a"])], [0])
    assert [each["id"] for each in view["nodes"]] == ["x", "w", "exp", "output"]
    made = view["nodes"][2]
    assert (made["op"], made["layer"], made["density"]) == ("k", "a", 0.5)
    assert (made["inputs"], made["weights"], made["origin"]) == (["x"], ["w"], ["linear", "exp"])
    assert view["nodes"][3]["inputs"] == ["exp"]


def test_several_calls_for_one_node_have_names_of_their_own():
    view = lowered_view(FUSED, [call("k", ["exp"], ["x"]), call("l", ["exp"], [0]), call("m", [], [1])], [2])
    assert [each["id"] for each in view["nodes"]] == ["x", "exp", "exp.1", "m", "output"]
    assert view["nodes"][2]["inputs"] == ["exp"]


def test_a_stage_that_is_not_there_is_an_error_that_lists_those_that_are():
    assert stage_of([FUSED], "fused") is FUSED
    with pytest.raises(SparsecompError, match="no stage 'removed'; there are: fused"):
        stage_of([FUSED], "removed")

"""One drawing for all stages: what is replaced keeps its place, and nothing is lost."""

from hypothesis import given
from hypothesis import strategies as st

from sparsecomp.inspect.union import union


def node(name, inputs=(), weights=(), layer="", kind="call", origin=()):
    fields = {
        "op": f"op_{name}",
        "type": "f32[1]",
        "density": None,
        "facts": "",
        "layer": layer,
        "origin": list(origin),
    }
    return {"id": name, "kind": kind, "inputs": list(inputs), "weights": list(weights), **fields}


def stage(name, *nodes):
    return {"stage": name, "nodes": list(nodes)}


X = node("x", kind="input")
CONV = node("conv", ["x"], ["w"], "body.conv")
NORM = node("norm", ["conv"], ["g"], "body.norm")
RELU = node("relu", ["norm"], layer="body.act")
OUT = node("output", ["relu"], kind="output")


def ids(drawn, stage):
    return [slot[stage] and slot[stage]["id"] for slot in drawn["slots"]]


def test_a_fused_call_has_the_place_of_the_call_whose_weight_it_reads():
    fused = node("fused", ["x"], ["w", "b"], "body.conv")
    drawn = union(
        [stage("a", X, CONV, NORM, RELU, OUT), stage("b", X, fused, node("output", ["fused"], kind="output"))]
    )
    assert ids(drawn.to_dict(), 0) == ["x", "conv", "norm", "relu", "output"]
    assert ids(drawn.to_dict(), 1) == ["x", "fused", None, None, "output"]


def test_edges_say_in_which_stages_they_are_and_a_bypass_does_not_shape():
    after = stage("b", X, CONV, node("output", ["conv"], kind="output"))
    drawn = union([stage("a", X, CONV, NORM, RELU, OUT), after]).to_dict()
    assert drawn["edges"] == [[0, 1, 0b11, 1], [1, 2, 0b01, 1], [1, 4, 0b10, 0], [2, 3, 0b01, 1], [3, 4, 0b01, 1]]


def test_a_lowered_call_has_the_place_of_its_origin_before_that_of_a_shared_weight():
    lowered = node("kernel", ["x"], ["w"], "body.conv", origin=["relu"])
    drawn = union([stage("a", X, CONV, NORM, RELU, OUT), stage("b", X, lowered)]).to_dict()
    assert ids(drawn, 1)[3] == "kernel"


def test_a_call_whose_weight_was_replaced_keeps_the_place_of_its_layer():
    new = node("conv_1", ["x"], ["w_folded"], "body.conv")
    assert ids(union([stage("a", X, NORM, CONV), stage("b", X, new)]).to_dict(), 1) == ["x", None, "conv_1"]


def test_a_new_call_is_drawn_after_the_one_before_it():
    drawn = union([stage("a", X, CONV, OUT), stage("b", X, CONV, node("pad", ["conv"]), OUT)]).to_dict()
    assert ids(drawn, 0) == ["x", "conv", None, "output"]
    assert ids(drawn, 1) == ["x", "conv", "pad", "output"]
    assert [2, 3, 0b10, 1] not in drawn["edges"] and [1, 2, 0b10, 1] in drawn["edges"]


def test_weights_are_not_drawn():
    drawn = union([stage("a", node("w", kind="weight"), X, CONV)]).to_dict()
    assert ids(drawn, 0) == ["x", "conv"]


@given(st.lists(st.lists(st.integers(0, 12), unique=True, max_size=8).map(sorted), min_size=1, max_size=5))
def test_every_node_of_every_stage_has_one_place(stages):
    views = [
        stage(str(i), *(node(f"n{n}", [f"n{before}" for before in names[:at]][-2:]) for at, n in enumerate(names)))
        for i, names in enumerate(stages)
    ]
    drawn = union(views).to_dict()
    for i, view in enumerate(views):
        assert sorted(name for name in ids(drawn, i) if name) == sorted(each["id"] for each in view["nodes"])
        reads = {(source, each["id"]) for each in view["nodes"] for source in each["inputs"]}
        names = ids(drawn, i)
        assert {(names[a], names[b]) for a, b, bits, _ in drawn["edges"] if bits >> i & 1} == reads

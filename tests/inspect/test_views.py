"""Programs as data: every node, what it reads, what is known of it."""

import torch
from torch import nn

from sparsecomp.inspect.views import view_of
from tests.graphs import program, tensor


def block(net, x):
    return net.head(net.body(x).relu())


def captured():
    made = program(block, tensor(2, 4), body=nn.Linear(4, 6), head=nn.Linear(6, 3))
    made.weight(next(node for node in made.graph.nodes if node.name == "body_weight"))[1:3] = 0
    made.weight(next(node for node in made.graph.nodes if node.name == "body_bias"))[1:3] = 0
    return made


def by_id(view):
    return {node["id"]: node for node in view["nodes"]}


def test_a_call_tells_its_operator_layer_type_and_what_it_reads():
    nodes = by_id(view_of(captured(), "captured"))
    call = nodes["linear"]
    assert (call["kind"], call["op"], call["layer"]) == ("call", "aten.linear.default", "body")
    assert (call["type"], call["inputs"]) == ("f32[2, 6]", ["inputs_0"])
    assert call["weights"] == ["body_weight", "body_bias"]
    assert call["density"] == nodes["body_weight"]["density"] == round(4 / 6, 6)


def test_nodes_come_after_what_they_read():
    seen = set()
    for node in view_of(captured(), "captured")["nodes"]:
        assert {*node["inputs"], *node["weights"]} <= seen
        seen.add(node["id"])


def test_facts_tell_what_is_zero_and_what_nobody_reads():
    nodes = by_id(view_of(captured(), "propagated", facts=True))
    assert nodes["linear"]["facts"] == "axis 1: 2 zero, 2 unread of 6"
    assert nodes["body_weight"]["facts"].startswith("axis 0: 2 zero")
    assert by_id(view_of(captured(), "captured"))["linear"]["facts"] == ""


def test_an_unread_input_is_a_fact():
    made = program(lambda net, x: x[:, :1] + 1, tensor(2, 4))
    assert by_id(view_of(made, "captured", facts=True))["inputs_0"]["facts"] == "axis 1: 3 unread of 4"


def test_densities_are_asked_for_once(monkeypatch):
    made, seen = captured(), {}
    first = view_of(made, "captured", seen=seen)
    monkeypatch.setattr(torch, "count_nonzero", None)
    assert view_of(made.copy(), "captured", seen=seen) == first

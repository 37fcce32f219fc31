"""From the calls of machine code back to the nodes and modules that they compute."""

import torch
from torch import nn

import sparsecomp
from tests.graphs import net, tensor
from tests.inspect.models import compiled


def test_every_call_knows_its_nodes_and_layers():
    calls = compiled().report.calls
    assert all(call["nodes"] for call in calls)
    layers = [layer for call in calls for layer in call["layers"]]
    assert [layer for layer in layers if layer] == ["conv", "body", "hidden", "head"]


def test_calls_together_compute_each_node_at_most_once():
    names = [name for call in compiled().report.calls for name in call["nodes"]]
    assert len(names) == len(set(names))
    fused = {node["id"] for node in compiled().report.stages[3]["nodes"] if node["kind"] == "call"}
    assert set(names) <= fused


def test_fused_chains_keep_all_of_their_nodes():
    model = net(lambda net, x: net.norm((x * 2 + 1).exp().sqrt()) * 3, norm=nn.LayerNorm(4))
    calls = sparsecomp.compile(model, "native", (tensor(2, 4),)).report.calls
    assert calls[0]["nodes"] == ["mul", "add", "exp", "sqrt"]
    assert calls[0]["inputs"] == ["inputs_0"]
    assert calls[1]["layers"] == ["norm"]
    assert calls[1]["inputs"] == [0]


def test_an_operator_that_takes_several_kernels_owns_all_of_them():
    model = net(lambda net, x: torch.nn.functional.interpolate(x, scale_factor=2.0).softmax(1))
    calls = sparsecomp.compile(model, "native", (tensor(1, 3, 4, 4),)).report.calls
    assert all(call["nodes"] for call in calls)


def test_the_code_of_each_function_is_kept():
    report = compiled().report
    assert set(report.code) == {call["function"] for call in report.calls}
    assert all("T.prim_func" in text for text in report.code.values())


def test_attention_between_linear_layers_moves_no_heads():
    def attend(net, x):
        q, k, v = (layer(x).unflatten(-1, (2, 16)).transpose(1, 2) for layer in (net.q, net.k, net.v))
        return net.out(torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    model = net(attend, **{name: nn.Linear(32, 32) for name in ("q", "k", "v", "out")})
    calls = sparsecomp.compile(model, "native", (tensor(2, 5, 32),)).report.calls
    assert [call["rule"] for call in calls] == [*["linear"] * 3, "attention", "linear"]
    assert "scaled_dot_product_attention" in calls[3]["nodes"]


def test_permutations_become_one():
    model = net(lambda net, x: x.permute(2, 0, 1).transpose(0, 2).permute(1, 2, 0))
    x = tensor(2, 3, 4)
    compiled = sparsecomp.compile(model, "native", (x,))
    assert torch.equal(compiled(x), model(x))
    assert len(compiled.report.calls) == 1

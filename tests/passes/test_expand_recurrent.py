"""LSTM and GRU become linear layers and scans; the outputs stay."""

import pytest
import torch
from torch import nn

from sparsecomp.passes import ExpandRecurrent
from tests.graphs import assert_close, operators, program, rewrite, tensor

BATCH = torch.export.Dim("batch", min=2, max=8)
OPTIONS = [
    {},
    {"batch_first": True},
    {"bidirectional": True, "batch_first": True},
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 3, "bias": False, "batch_first": True},
    {"num_layers": 2, "dropout": 0.5},
]
CELLS = {nn.LSTM: "lstm", nn.GRU: "gru"}


def names(captured):
    return [name for name in operators(captured) if name != "<built-in function getitem>"]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_each_layer_is_one_linear_and_one_scan(cell, options):
    captured = program(lambda net, x: net.layer(x), tensor(4, 3, 5), layer=cell(5, 7, **options))
    assert rewrite(captured, ExpandRecurrent()) == [True]
    found = [name for name in names(captured) if name.startswith(("linear", "sparsecomp"))]
    assert found == ["linear.default", f"sparsecomp.{CELLS[cell]}_scan.default"] * options.get("num_layers", 1)
    assert not any(name.startswith(CELLS[cell]) for name in names(captured))


@pytest.mark.parametrize("layers", [1, 2])
def test_given_states_reach_their_layers(layers):
    lstm, gru = nn.LSTM(5, 7, layers, bidirectional=True), nn.GRU(5, 7, layers, bidirectional=True)
    h, c = tensor(2 * layers, 3, 7, seed=2), tensor(2 * layers, 3, 7, seed=3)
    for captured in (
        program(lambda net, x, h, c: net.layer(x, (h, c)), tensor(4, 3, 5), h, c, layer=lstm),
        program(lambda net, x, h: net.layer(x, h), tensor(4, 3, 5), h, layer=gru),
    ):
        assert rewrite(captured, ExpandRecurrent()) == [True]
        scans = [node for node in captured.calls() if "scan" in str(node.target)]
        assert len(scans) == layers and all(None not in scan.args[-2:-1] for scan in scans)


def test_the_batch_may_vary():
    lstm = nn.LSTM(5, 7, 2, batch_first=True, bidirectional=True)
    captured = program(lambda net, x: net.layer(x)[0], tensor(3, 4, 5), dynamic=({0: BATCH},), layer=lstm)
    assert rewrite(captured, ExpandRecurrent()) == [True]
    other = tensor(5, 4, 5, seed=4)
    assert_close(captured(other), lstm(other)[0])


def test_one_sequence_without_a_batch():
    captured = program(lambda net, x: net.layer(x), tensor(4, 5), layer=nn.LSTM(5, 7))
    assert rewrite(captured, ExpandRecurrent()) == [True]


def test_a_projection_stays():
    captured = program(lambda net, x: net.layer(x), tensor(4, 3, 5), layer=nn.LSTM(5, 7, proj_size=2))
    assert rewrite(captured, ExpandRecurrent()) == [False]


def test_double_precision_stays():
    captured = program(lambda net, x: net.layer(x.double()), tensor(4, 3, 5), layer=nn.LSTM(5, 7).double())
    assert rewrite(captured, ExpandRecurrent()) == [False]

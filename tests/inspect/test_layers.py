"""One row a layer: what the model has, what became of it, what it costs."""

import pytest
import torch
from torch import nn

import sparsecomp
from tests.graphs import net, tensor
from tests.inspect.models import compiled


@pytest.fixture(scope="module")
def rows():
    return {row["layer"]: row for row in compiled().report.layers}


def test_there_is_a_row_for_each_layer_in_order(rows):
    assert list(rows) == ["conv", "body", "hidden", "head"]


def test_a_row_shows_the_weight_of_the_model(rows):
    assert rows["conv"]["shape"] == [8, 3, 3, 3]
    assert rows["conv"]["weight"] == "conv.weight"
    assert rows["conv"]["op"] == "conv2d"
    assert rows["conv"]["pattern"] == "2 zero outputs"
    assert rows["hidden"]["density"] == pytest.approx(0.1, abs=0.01)
    assert len(rows["hidden"]["preview"]["spy"]) == 64


def test_a_row_tells_what_was_removed(rows):
    assert (rows["conv"]["outputs_removed"], rows["body"]["inputs_removed"]) == (2, 2)
    assert rows["conv"]["shape_after"] == [6, 3, 3, 3]
    assert rows["hidden"]["inputs_removed"] == 2 * 8 * 8


def test_a_row_tells_what_runs(rows):
    assert rows["hidden"]["schedule"]["sparse"] is True
    assert rows["hidden"]["kernel"] == "column"
    assert "CSR" in rows["hidden"]["format"] or "panels" in rows["hidden"]["format"]
    assert rows["hidden"]["dense"] == ""
    assert rows["hidden"]["function"] in compiled().report.code


def test_figures_agree_with_each_other(rows):
    for row in rows.values():
        assert row["macs"] <= row["macs_dense"]
        assert row["gflops"] == pytest.approx(2 * row["macs"] / row["predicted"] / 1e9)
        assert 0 < row["roofline"] <= 1
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1)
    assert rows["conv"]["macs_dense"] == 32 * 8 * 8 * 8 * 27
    assert rows["head"]["macs_dense"] == 32 * 256 * 10
    assert rows["hidden"]["bytes_before"] == 512 * 256 * 4
    assert rows["hidden"]["bytes_after"] < rows["hidden"]["bytes_before"] / 4


def test_a_layer_that_is_removed_keeps_a_row():
    model = net(lambda net, x: net.live(x) + net.dead(x), live=nn.Linear(4, 3), dead=nn.Linear(4, 3))
    with torch.no_grad():
        model.dead.weight.zero_()
    rows = {row["layer"]: row for row in sparsecomp.compile(model, "native", (tensor(2, 4),)).report.layers}
    assert rows["dead"]["nodes"] == []
    assert rows["dead"]["reason"].startswith("removed")
    assert rows["dead"]["bytes_after"] == 0


def test_a_layer_that_becomes_several_calls_has_one_row():
    model = net(lambda net, x: net.cell(x)[0], cell=nn.LSTM(4, 5))
    (row,) = sparsecomp.compile(model, "native", (tensor(3, 2, 4),)).report.layers
    assert row["op"] == "lstm"
    assert len(row["nodes"]) >= 2

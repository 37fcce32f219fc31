"""One layer's story."""

import pytest
import torch
from torch import nn

import sparsecomp
from sparsecomp.errors import SparsecompError
from tests.graphs import net, tensor
from tests.inspect.models import compiled


def test_the_story_of_a_sparse_layer():
    text = compiled().explain("hidden")
    assert text.startswith(
        "hidden is a linear with a weight of 256x512 (hidden.weight). 90.0% of it is zero (unstructured"
    )
    for words in (
        "128 inputs were removed, which leaves 256x384",
        "It runs sparse",
        "column kernel",
        "GFLOP/s",
        "bytes",
    ):
        assert words in text


def test_a_weight_may_be_named():
    assert compiled().explain("head.weight") == compiled().explain("head")
    assert "It has no zeros" in compiled().explain("head")


def test_an_unknown_name_is_an_error_with_the_closest():
    with pytest.raises(SparsecompError, match=r"no layer 'hiden'.* did you mean hidden"):
        compiled().explain("hiden")


def test_a_model_without_weights_has_no_layer():
    report = sparsecomp.compile(net(lambda net, x: x + 1), "native", (tensor(2),)).report
    with pytest.raises(SparsecompError, match="the model has none"):
        report.explain("x")


def test_a_layer_that_is_gone_says_why():
    model = net(lambda net, x: net.live(x) + net.dead(x), live=nn.Linear(4, 3), dead=nn.Linear(4, 3))
    with torch.no_grad():
        model.dead.weight.zero_()
    text = sparsecomp.compile(model, "native", (tensor(2, 4),)).explain("dead")
    assert "Nothing of it runs: removed" in text


def test_what_stays_is_told_with_the_reason():
    model = net(lambda net, x: net.head(net.body(x)).softmax(-1), body=nn.Linear(4, 6), head=nn.Linear(6, 3))
    with torch.no_grad():
        model.head.weight[0] = 0
        model.head.bias[0] = 0
    text = sparsecomp.compile(model, "native", (tensor(2, 4),)).explain("head")
    assert "1 of 3 slices could go and stay" in text

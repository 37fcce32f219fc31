"""What does not depend on the inputs is computed once."""

import pytest
import torch
from torch import nn

from sparsecomp.passes import EliminateDead, FoldConstants
from tests.graphs import operators, program, rewrite, tensor


def positions(net, x):
    return x + net.table(torch.arange(x.shape[1]))


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (positions, ["add.Tensor"]),
        (lambda net, x: x * (net.scale.exp() + 1), ["mul.Tensor"]),
        (lambda net, x: x + torch.full((4,), 3.0), ["add.Tensor"]),
        (lambda net, x: x * net.scale.chunk(2)[1].repeat(2), ["mul.Tensor"]),
        (lambda net, x: torch.where(torch.ones(3, 4).tril() > 0, x, net.scale * 2), ["where.self"]),
    ],
)
def test_constants_become_weights(function, left):
    captured = program(function, tensor(2, 3, 4), table=nn.Embedding(8, 4), scale=nn.Parameter(torch.empty(4)))
    assert rewrite(captured, FoldConstants(), EliminateDead())[0] is True
    assert operators(captured) == left
    assert all(node.op == "placeholder" or captured.is_weight(node) for node in next(captured.calls()).all_input_nodes)


def test_nothing_to_fold_is_no_change():
    captured = program(lambda net, x: x.relu() + net.scale, tensor(2, 4), scale=nn.Parameter(torch.empty(4)))
    assert rewrite(captured, FoldConstants()) == [False]


def test_a_constant_output_is_folded():
    captured = program(lambda net, x: (x.relu(), torch.arange(4) * 2), tensor(2, 4))
    rewrite(captured, FoldConstants(), EliminateDead())
    assert operators(captured) == ["relu.default"]
    assert torch.equal(captured(tensor(2, 4))[1], torch.arange(4) * 2)


def test_a_result_larger_than_limit_and_sources_is_kept_as_it_is():
    captured = program(
        lambda net, x: x + net.scale.expand(64, 64).exp(), tensor(64, 64), scale=nn.Parameter(torch.empty(64))
    )
    assert rewrite(captured, FoldConstants(limit=1000)) == [False]
    assert rewrite(captured, FoldConstants(limit=64 * 64 * 4)) == [True]


def test_a_result_no_larger_than_its_sources_is_folded_at_any_limit():
    captured = program(lambda net, x: x + net.scale.exp(), tensor(2, 64), scale=nn.Parameter(torch.empty(64)))
    assert rewrite(captured, FoldConstants(limit=0)) == [True]


def test_random_numbers_are_no_constants():
    captured = program(lambda net, x: x + torch.rand(4), tensor(2, 4))
    assert FoldConstants().apply(captured) is False


def test_what_depends_on_a_dynamic_size_is_no_constant():
    captured = program(
        lambda net, x: x + torch.arange(x.shape[1]), tensor(2, 5), dynamic=({1: torch.export.Dim("length")},)
    )
    rewrite(captured, FoldConstants())
    assert torch.equal(captured(torch.zeros(2, 7)), torch.arange(7.0).expand(2, 7))


def test_folded_weights_share_no_memory_with_those_they_are_made_of():
    scale = nn.Parameter(torch.empty(2, 4))
    captured = program(lambda net, x: x + net.scale[0], tensor(2, 4), scale=scale)
    rewrite(captured, FoldConstants(), EliminateDead())
    (folded,) = captured.weights().values()
    assert folded.untyped_storage().data_ptr() != scale.untyped_storage().data_ptr()
    assert folded.untyped_storage().nbytes() == 4 * 4


def test_what_parameters_make_is_a_parameter_and_masks_are_not():
    p = program(
        lambda net, x: x * net.scale.exp() + torch.arange(4) * 0.5, tensor(2, 4), scale=nn.Parameter(torch.empty(4))
    )
    FoldConstants().apply(p)
    folded = [node for node in p.graph.find_nodes(op="get_attr") if node.users and node.target != "scale"]
    assert [p.is_trained(node) for node in folded] == [True, False]

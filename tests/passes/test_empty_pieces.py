"""Splits after narrowing."""

import torch

from sparsecomp.passes import Canonicalize
from tests.graphs import operators, program, rewrite, tensor

aten = torch.ops.aten


def test_empty_pieces_of_a_split_go():
    def pieces(_net, x):
        first, _, third = x.relu().split([1, 0, 3], 1)
        return first, third

    found = program(pieces, tensor(2, 4))
    rewrite(found, Canonicalize())
    assert [node.args[1] for node in found.calls(aten.split_with_sizes.default)] == [[1, 3]]


def test_a_split_in_one_piece_is_none():
    found = program(lambda _net, x: x.relu().split([4, 0], 1)[0], tensor(2, 4))
    rewrite(found, Canonicalize())
    assert operators(found) == ["relu.default"]

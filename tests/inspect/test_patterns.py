"""Structure in weights: what is made is found, and nothing is found in noise."""

import pytest
import torch

from sparsecomp.inspect.patterns import pattern_of, preview


def noise(*shape):
    return torch.randn(shape) + 10


def blocks(rows, columns, height=64, width=64, density=0.25):
    kept = torch.rand(height // rows, width // columns) < density
    kept[0, 0] = True
    return noise(height, width) * kept.repeat_interleave(rows, 0).repeat_interleave(columns, 1)


def two_of_four(height=32, width=64):
    kept = torch.rand(height, width // 4, 4).argsort(dim=2) < 2
    return noise(height, width) * kept.reshape(height, width)


def permuted(weight):
    return weight[torch.randperm(len(weight))]


@pytest.mark.parametrize(
    ("weight", "name"),
    [
        (lambda: noise(8, 8), "dense"),
        (lambda: torch.zeros(8, 8), "all zero"),
        (lambda: noise(64, 64) * (torch.rand(64, 64) < 0.3), "unstructured"),
        (lambda: noise(64, 64) * (torch.rand(64, 64) < 0.02), "unstructured"),
        (lambda: blocks(4, 1), "blocks of 4x1"),
        (lambda: blocks(8, 8), "blocks of 8x8"),
        (lambda: blocks(16, 1), "blocks of 16x1"),
        (two_of_four, "2:4"),
        (lambda: two_of_four(32, 64).reshape(32, 1, 1, 64).movedim(3, 1), "2:4"),
        (lambda: permuted(blocks(4, 1, density=0.4)), "blocks of 4x1 after a permutation of the outputs"),
    ],
)
def test_names(weight, name):
    found = pattern_of(weight())
    assert found.name == name


def test_zero_slices_and_duplicates_are_counted():
    weight = noise(8, 6, 3, 3)
    weight[1] = 0
    weight[:, 4] = 0
    weight[5] = weight[2]
    found = pattern_of(weight)
    assert (found.zero_outputs, found.zero_inputs, found.duplicates) == (1, 1, 1)
    assert str(found) == "1 zero output, 1 zero input, 1 duplicate"
    assert found.density == pytest.approx(7 * 5 / 48)


def test_blocks_are_found_beside_zero_outputs():
    weight = torch.cat([torch.zeros(3, 64), blocks(4, 1, density=0.9)])
    weight[1] = 0
    found = pattern_of(weight)
    assert found.name.startswith("blocks of 4x1")
    assert found.zero_outputs >= 3


def test_a_preview_shows_small_weights_exactly():
    weight = torch.tensor([[0.0, 1.0, 0.0], [2.0, 3.0, 4.0]])
    shown = preview(weight, bins=3)
    assert shown == {"spy": ["090", "999"], "histogram": [0, 1, 1]}


def test_a_preview_of_a_large_weight_has_at_most_so_many_cells():
    weight = torch.ones(100, 30, 3)
    weight[:50] = 0
    weight[50, 0, 0] = 0
    shown = preview(weight, most=10)
    assert [len(shown["spy"]), *{len(row) for row in shown["spy"]}] == [10, 10]
    assert set("".join(shown["spy"][:5])) == {"0"}
    assert shown["spy"][5][0] == "8"
    assert set("".join(shown["spy"][6:])) == {"9"}
    assert sum(shown["histogram"]) == 100


def test_a_single_nonzero_is_not_lost():
    weight = torch.zeros(1000, 1000)
    weight[500, 500] = 1e-20
    assert sum(digit != "0" for row in preview(weight)["spy"] for digit in row) == 1


def test_an_empty_weight_has_an_empty_preview():
    assert preview(torch.zeros(0, 4))["spy"] == []
    assert pattern_of(torch.zeros(0, 4)).density == 1.0

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsecomp.errors import PruneError
from sparsecomp.prune.patterns import NM, Block, Structured, keep_top, parse_pattern
from sparsecomp.prune.weights import Weight


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(-1, 31))
def test_keep_top_keeps_so_many_and_none_that_is_smaller_than_one_that_goes(values, count):
    tensor = torch.tensor(values, dtype=torch.float32)
    kept = keep_top(tensor, count)
    assert int(kept.sum()) == min(max(count, 0), len(values))
    if kept.any() and not kept.all():
        assert tensor[kept].min() >= tensor[~kept].max()


def test_keep_top_takes_the_first_of_equal_ones():
    assert keep_top(torch.ones(4), 2).tolist() == [True, True, False, False]


def test_blocks_are_ranked_by_their_sums():
    scores = torch.tensor([[1.0, 5, 0], [2, 0, 0], [0, 0, 9], [4, 0, 0]])
    mask = Block(2, 1).mask(scores, 0.5)
    assert mask.tolist() == [[False, True, False]] * 2 + [[True, False, True]] * 2


def test_blocks_over_columns_too():
    scores = torch.tensor([[1.0, 1, 0, 3], [1, 1, 0, 0]])
    assert Block(2, 2).mask(scores, 0.5).tolist() == [[True, True, False, False]] * 2


def test_per_output_every_row_keeps_its_share():
    scores = torch.tensor([[9.0, 8, 7, 6], [4, 1, 3, 2]])
    assert Block().mask(scores, 0.5, per_output=True).tolist() == [
        [True, True, False, False],
        [True, False, True, False],
    ]
    assert Block().mask(scores, 0.5).tolist() == [[True] * 4, [False] * 4]


def test_n_of_m():
    scores = torch.tensor([[1.0, 2, 3, 4, 8, 7, 6, 5]])
    assert NM(2, 4).mask(scores, 0.5).tolist() == [[False, False, True, True, True, True, False, False]]


def test_a_layer_never_loses_everything():
    assert int(Block(4, 1).mask(torch.rand(8, 3), 0.0).sum()) == 4


@pytest.mark.parametrize(
    ("pattern", "weight", "why"),
    [
        (Block(4, 1), Weight("w", (6, 8)), "6 outputs"),
        (Block(1, 3), Weight("w", (6, 8)), "8 inputs"),
        (Block(4, 1), Weight("w", (12, 4, 3, 3), "conv", groups=2), "6 outputs"),
        (NM(2, 4), Weight("w", (8, 6)), "6 inputs"),
        (NM(2, 4), Weight("w", (8, 6, 2, 2), "conv"), "6 inputs"),
    ],
)
def test_a_pattern_says_why_it_does_not_fit(pattern, weight, why):
    assert why in pattern.obstacle(weight)


def test_a_pattern_that_fits_has_no_obstacle():
    assert Block(4, 2).obstacle(Weight("w", (8, 6))) is None


@pytest.mark.parametrize(
    "pattern", [Block(), Block(4, 1), NM(2, 4), Structured("channels"), Structured("heads"), Structured("layers")]
)
def test_names_are_read_back(pattern):
    assert parse_pattern(pattern.name) == pattern


@pytest.mark.parametrize("name", ["blocks", "block0x1", "4:2", "2:2", ""])
def test_an_unknown_name_lists_what_there_is(name):
    with pytest.raises(PruneError, match="block4x1"):
        parse_pattern(name)

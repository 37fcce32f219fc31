"""Which linear layers hand tiles on, and that the program stays right."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import sparsecomp
from sparsecomp.capture import capture
from sparsecomp.kernels.problem import LinearProblem
from sparsecomp.lower import choose_kernels
from sparsecomp.passes import PIPELINE, run
from sparsecomp.targets import detect

TARGET = detect()


class Block(nn.Module):
    """A feed-forward block; what is between its two layers may be read once more."""

    def __init__(self, read_twice=False):
        super().__init__()
        self.up, self.down, self.read_twice = nn.Linear(96, 256), nn.Linear(256, 96), read_twice

    def forward(self, x):
        hidden = torch.nn.functional.gelu(self.up(x))
        y = self.down(hidden) + x
        return (y, hidden.mean()) if self.read_twice else y


def sparse(model):
    torch.manual_seed(0)
    for weight in (each for each in model.parameters() if each.dim() > 1):
        weight.data *= torch.rand_like(weight) < 0.08
    return model.eval()


def decided(model, tokens, dynamic=None, measured=None):
    program = capture(sparse(model), (torch.randn(1, tokens, 96),), None, dynamic)
    run(PIPELINE, program)
    return list(choose_kernels(program, TARGET, measured).values())


def tiles(decisions):
    return [(each.problem.x_tile, each.problem.y_tile) for each in decisions]


@pytest.mark.parametrize("tokens", [128, 197])
def test_a_feed_forward_block_hands_tiles_on(tokens):
    up, down = decided(Block(), tokens)
    size = up.problem.y_tile
    assert size > 0 and tiles([up, down]) == [(0, size), (size, 0)]
    for each in (up, down):
        schedule = each.chosen.schedule
        assert schedule.span * schedule.vectors * schedule.lanes == size
    assert f"hands its output to down in tiles of {size} tokens" in up.reason
    assert f"takes that of up in tiles of {size} tokens" in down.reason


@pytest.mark.parametrize("tokens", [16, 128, 197])
def test_the_program_computes_the_same(tokens):
    model, x = sparse(Block()), torch.randn(1, tokens, 96)
    compiled = sparsecomp.compile(model, "native", (x,))
    torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)
    assert len(compiled.profile(x, runs=1).kernels) == 2


def test_a_chain_hands_the_same_tiles_on():
    model = nn.Sequential(nn.Linear(96, 200), nn.ReLU(), nn.Linear(200, 180), nn.ReLU(), nn.Linear(180, 96))
    first, second, third = decided(model, 128)
    size = first.problem.y_tile
    assert size > 0 and tiles([first, second, third]) == [(0, size), (size, size), (size, 0)]
    x = torch.randn(1, 128, 96)
    torch.testing.assert_close(sparsecomp.compile(model, "native", (x,))(x), model(x), rtol=1e-4, atol=1e-5)


def test_what_others_read_is_row_major():
    assert tiles(decided(Block(read_twice=True), 128)) == [(0, 0), (0, 0)]


def test_one_token_has_no_tiles():
    assert tiles(decided(Block(), 1)) == [(0, 0), (0, 0)]


def test_tokens_that_vary_have_no_tiles():
    tokens = torch.export.Dim("tokens", min=2, max=512)
    assert tiles(decided(Block(), 128, ({1: tokens},))) == [(0, 0), (0, 0)]


def test_only_what_was_measured_is_weighed_against_what_was_measured():
    def measured(problem: LinearProblem, shape, stats, schedules):
        return {schedules[0]: 1e-3}

    for each in decided(Block(), 128, measured=measured):
        plain = replace(each.problem, x_tile=0, y_tile=0)
        assert each.chosen.measured is not None
        assert (each.problem == plain) or each.chosen.measured < 1e-3

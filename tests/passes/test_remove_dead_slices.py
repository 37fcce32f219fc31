"""Removal: what a network computes stays, what is dead goes."""

import pytest
import torch
from torch import Tensor, nn

from sparsecomp.capture import capture
from sparsecomp.passes import PIPELINE
from sparsecomp.passes.remove_dead_slices import RemoveDeadSlices
from sparsecomp.program import Program, relative_error
from tests.passes.random_networks import random_network

EXACT = 1e-5
DYNAMIC_BATCH = ({0: torch.export.Dim("batch", min=2, max=64)},)


def removed(model: nn.Module, x: Tensor, fold: bool = True, dynamic: bool = False) -> Program:
    """The captured model after removal; its outputs have been compared with the model's."""
    program = capture(model.eval(), (x,), dynamic_shapes=DYNAMIC_BATCH if dynamic else None)
    for each in PIPELINE:
        if fold or each.name in ("canonicalize", "eliminate-dead"):
            each.apply(program)
            program.finish()
    RemoveDeadSlices().apply(program)
    with torch.no_grad():
        assert relative_error(program(x), model(x)) < EXACT
        if dynamic:
            more = torch.cat((x, -x))
            assert relative_error(program(more), model(more)) < EXACT
    assert not RemoveDeadSlices().apply(program), "a second run finds more"
    for name, data in program.weights().items():
        assert 0 not in data.shape, name
    return program


@pytest.mark.parametrize("seed", range(40))
def test_random_networks_compute_the_same(seed: int) -> None:
    torch.manual_seed(seed)
    removed(random_network(seed), torch.randn(2, 3, 6, 6), fold=seed % 2 == 0, dynamic=seed % 3 == 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40, 400))
def test_many_random_networks_compute_the_same(seed: int) -> None:
    test_random_networks_compute_the_same(seed)

import math

import pytest
import torch
from torch import nn

from sparsecomp.inspect.metrics import (
    Work,
    accuracy_density,
    block_bits,
    crossovers,
    delta_bits,
    entropy,
    flow,
    nm_bits,
    nonzeros,
    parameter_efficiency,
    sizes,
    strided_bits,
    work,
)

# survey.md, part 2: size relative to dense of a square matrix with zeros anywhere.
TABLE = [
    (0.1, 8, 1.025, 1.023, 4.50),
    (0.5, 8, 0.625, 0.667, 2.50),
    (0.8, 8, 0.325, 0.309, 1.00),
    (0.9, 8, 0.225, 0.168, 0.50),
    (0.95, 8, 0.175, 0.091, 0.25),
    (0.5, 32, 0.531, 0.549, 1.00),
    (0.9, 32, 0.131, 0.119, 0.20),
    (0.99, 32, 0.041, 0.013, 0.02),
]


@pytest.mark.parametrize(("sparsity", "bits", "bitmap", "delta", "csr32"), TABLE)
def test_sizes_are_those_of_the_survey(sparsity, bits, bitmap, delta, csr32):
    matrix = torch.rand(1000, 1000, generator=torch.Generator().manual_seed(0)) >= sparsity
    found, dense = sizes(matrix.float(), bits), 1e6 * bits
    assert found.bitmap / dense == pytest.approx(bitmap, abs=0.003)
    assert found.delta / dense == pytest.approx(delta, abs=0.003)
    assert found.csr32 / dense == pytest.approx(csr32, abs=0.02)


@pytest.mark.parametrize(
    ("sparsity", "bits", "best"), [(0.1, 8, "dense"), (0.1, 32, "bitmap"), (0.5, 8, "bitmap"), (0.95, 8, "delta")]
)
def test_the_smallest_format(sparsity, bits, best):
    matrix = torch.rand(1000, 1000, generator=torch.Generator().manual_seed(0)) >= max(sparsity, 0.02)
    assert sizes(matrix.float(), bits).best[0] == best


def test_sizes_by_hand():
    matrix = torch.tensor([[1.0, 0, 0, 0], [0, 0, 2, 3]])
    found = sizes(matrix, 8)
    assert (found.dense, found.bitmap, found.coo) == (64, 8 + 24, 3 * (8 + 3))
    assert found.csr == 3 * (8 + 2) + 2 * 2
    assert found.csc == 3 * (8 + 1) + 4 * 2
    assert found.csr32 == 3 * 40 + 3 * 32
    assert found.bound == pytest.approx(24 + 8 * entropy(3 / 8))


def test_delta_pads_long_gaps():
    """Gaps 0, 5, 0: with 2 bits one explicit zero bridges the gap of 5; with 3 bits none is needed."""
    nonzero = torch.tensor([1, 0, 0, 0, 0, 0, 1, 1]).bool()
    assert delta_bits(nonzero, 8) == min(3 * 9 + 2 * 9, (3 + 1) * 10, 3 * 11)
    assert delta_bits(torch.zeros(9).bool(), 8) == 0


@pytest.mark.parametrize(("bits", "ratio"), [(32, 0.531), (16, 0.5625), (8, 0.625), (4, 0.75)])
def test_two_of_four(bits, ratio):
    assert nm_bits(1000, (2, 4), bits) / (1000 * bits) == pytest.approx(ratio, abs=0.001)


def test_blocks_store_the_zeros_within():
    matrix = torch.zeros(4, 8)
    matrix[0, 0] = matrix[2, 5] = 1
    assert block_bits(matrix, (2, 1), 32) == 2 * (2 * 32 + 3) + 2 * 1


def test_crossovers_are_where_the_sizes_cross():
    found = crossovers(8, 10**8, 10**4)
    assert found["bitmap < dense"] == 0.875
    assert 1 - found["coo < bitmap"] == pytest.approx(0.963, abs=0.001)
    assert 1 - found["csr < bitmap"] == pytest.approx(0.929, abs=0.001)
    assert found["csr32 < dense"] == 0.2
    assert (found["csr16 < dense"], found["bsr32 < dense"], found["delta < bitmap"]) == (1 / 3, 0.5, 0.25)


def test_nonzeros_counts_shared_weights_once():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    model[0].weight.data[0] = 0
    assert nonzeros(model) == (2, 4)


def test_work():
    weight = torch.tensor([[1.0, 0], [0, 0]])
    found = work({"w": weight}, {"w": 10}, {"w": 0.5})
    assert found == Work(40, 10, 20)
    assert found.speedup == 4
    assert found.realised(8.0, 4.0) == 0.5


def test_efficiencies_are_those_of_the_table():
    """survey.md, part 3: ResNet-50, dense, and at 90 % with ERK."""
    assert accuracy_density(0.768, 25_530_000) == pytest.approx(3.01, abs=0.01)
    assert parameter_efficiency(0.768, 25_530_000) == pytest.approx(4.503, abs=0.001)
    assert parameter_efficiency(0.7642, 2_550_000, base=10) == pytest.approx(11.93, abs=0.01)
    assert parameter_efficiency(0.5, 8, base=2) == pytest.approx(50 / 3)


def test_flow_finds_collapse_and_units_without_connections():
    weights = {"a": torch.zeros(2, 3), "b": torch.tensor([[1.0, 0], [0, 0]]), "c": torch.ones(2, 2, 3, 3)}
    found = flow(weights)
    assert found.empty == ("a",)
    assert found.silent == {"a": 2, "b": 1}
    assert found.unread == {"a": 3, "b": 1}


def test_entropy():
    assert (entropy(0.0), entropy(0.5), entropy(1.0)) == (0, 1, 0)
    assert entropy(0.1) == pytest.approx(-0.1 * math.log2(0.1) - 0.9 * math.log2(0.9))


def test_a_stride_is_said_once():
    assert strided_bits(1024, 256, 8) == 256 * 8 + 10 + 10

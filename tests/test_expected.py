import pytest
import torch
from torch import nn

import sparsecomp
from sparsecomp.kernels.cost import WeightStats
from sparsecomp.kernels.problem import LinearProblem
from sparsecomp.layer_times import layer_seconds
from sparsecomp.targets import resolve

TARGET = resolve("x86-64-v3")
X = torch.randn(64, 256)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 256)).eval()


def milliseconds(inputs, outputs):
    return 1e3 * layer_seconds(LinearProblem(64, inputs, outputs), WeightStats.unstructured(1.0), TARGET)


def test_slices_make_layers_smaller(model):
    expected = sparsecomp.prune(model, (X,), sparsity=0.5, pattern="neurons", target=TARGET).report.expected
    assert expected["flop_ratio"] == 0.5
    assert expected["ms_dense"] == pytest.approx(milliseconds(256, 512) + milliseconds(512, 256))
    assert expected["ms_pruned"] == pytest.approx(milliseconds(256, 256) * 2)


@pytest.mark.parametrize("pattern", ["unstructured", "block4x1", "2:4"])
def test_zeros_cost_no_more_than_none(model, pattern):
    pruned = sparsecomp.prune(model, (X,), sparsity=0.5, pattern=pattern, exclude=(), target=TARGET)
    expected = pruned.report.expected
    assert expected["flop_ratio"] == pytest.approx(0.5)
    assert expected["ms_pruned"] <= expected["ms_dense"]


def test_many_blocks_of_zeros_pay(model):
    expected = sparsecomp.prune(
        model, (X,), sparsity=0.95, pattern="block4x1", exclude=(), target=TARGET
    ).report.expected
    assert expected["ms_pruned"] < 0.5 * expected["ms_dense"]


def test_statistics_of_normalisation_stay_as_they_were():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3)).train()
    pruned = sparsecomp.prune(model, (torch.randn(2, 3, 8, 8),), sparsity=0.5, target=TARGET)
    assert "ms_pruned" in pruned.report.expected
    assert int(pruned.model[1].num_batches_tracked) == 0


def test_without_inputs_no_speed_is_told(model):
    assert "ms_pruned" not in sparsecomp.prune(model, sparsity=0.5, target=TARGET).report.expected

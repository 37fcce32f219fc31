import pytest
import torch
from torch import nn

from sparsecomp.prune.weights import Weight, find_weights


@pytest.mark.parametrize(
    "weight",
    [
        Weight("w", (6, 4)),
        Weight("w", (4, 6), out_axis=1),
        Weight("w", (6, 4, 3, 2), "conv"),
        Weight("w", (4, 6, 3), "transposed", out_axis=1),
    ],
)
def test_matrix_and_tensor_are_inverse(weight):
    tensor = torch.randn(weight.shape)
    matrix = weight.matrix(tensor)
    assert matrix.shape == (6, weight.size // 6)
    assert torch.equal(weight.tensor(matrix), tensor)


def test_inputs_run_fastest_in_a_matrix():
    tensor = torch.arange(24.0).reshape(2, 3, 4)
    assert Weight("w", (2, 3, 4), "conv").matrix(tensor)[0, :3].tolist() == tensor[0, :, 0].tolist()


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.inner, self.again = nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.head = nn.Linear(4, 9)
        self.head.weight = self.embedding.weight
        self.again.weight = self.inner.weight


def test_a_weight_is_found_once_and_not_if_an_embedding_shares_it():
    assert list(find_weights(Tied())) == ["inner.weight"]


def test_kinds_of_layers():
    model = nn.ModuleDict(
        {
            "conv": nn.Conv2d(4, 8, 3, groups=2),
            "up": nn.ConvTranspose2d(4, 8, 2),
            "attention": nn.MultiheadAttention(8, 2),
            "lstm": nn.LSTM(4, 3),
            "norm": nn.LayerNorm(4),
        }
    )
    found = {name: (w.kind, w.outputs, w.groups) for name, w in find_weights(model).items()}
    assert found == {
        "conv.weight": ("conv", 8, 2),
        "up.weight": ("transposed", 8, 1),
        "attention.in_proj_weight": ("linear", 24, 1),
        "attention.out_proj.weight": ("linear", 8, 1),
        "lstm.weight_ih_l0": ("recurrent", 12, 1),
        "lstm.weight_hh_l0": ("recurrent", 12, 1),
    }


def test_an_exported_program_has_the_weights_of_its_module():
    model = nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.Flatten(), nn.Linear(16, 3)).eval()
    exported = torch.export.export(model, (torch.randn(1, 2, 4, 4),))
    assert find_weights(exported) == find_weights(model)

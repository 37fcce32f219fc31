import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sparsecomp.errors import PruneError
from sparsecomp.prune.data import Batch
from sparsecomp.prune.observe import Gram, Moments, collect, watching
from sparsecomp.prune.weights import find_weights

CONVOLUTIONS = [
    (nn.Conv1d(4, 6, 3, stride=2, padding=1), (2, 4, 9)),
    (nn.Conv2d(4, 6, (3, 2), padding=(1, 0), dilation=(1, 2)), (2, 4, 7, 8)),
    (nn.Conv2d(4, 6, 3, groups=2, stride=2), (2, 4, 8, 7)),
    (nn.Conv2d(4, 6, 2, padding="same"), (2, 4, 5, 5)),
    (nn.Conv3d(2, 3, 2), (1, 2, 3, 4, 5)),
]


@pytest.mark.parametrize(("layer", "shape"), CONVOLUTIONS)
def test_rows_times_matrix_is_the_convolution(layer, shape):
    """What is observed, multiplied with the weight's matrix, gives the layer's own output at every position."""
    model = nn.Sequential(layer)
    weight = find_weights(model)["0.weight"]
    x, found, positions = torch.randn(shape), [], []

    def see(name, use):
        found.extend(use.rows())
        positions.append(use.positions)

    with torch.no_grad(), watching(model, {weight.name: weight}, see):
        expected = model(x)
    matrices = weight.matrix(layer.weight.detach()).chunk(layer.groups)
    for image, rows in zip(expected, found, strict=True):
        computed = torch.cat([m @ r.T for m, r in zip(matrices, rows, strict=True)])
        torch.testing.assert_close(computed + layer.bias.detach()[:, None], image.flatten(1))
    assert positions == [expected[:, 0].numel()]


def test_moments_and_gram_over_batches():
    model = nn.Sequential(nn.Linear(5, 3))
    data = [torch.randn(4, 2, 5).relu(), torch.randn(3, 2, 5).relu()]
    batches, weights = [Batch((x,)) for x in data], find_weights(model)
    rows = torch.cat([x.reshape(-1, 5) for x in data])
    moments = collect(model, weights, batches, Moments)["0.weight"]
    torch.testing.assert_close(moments.mean[0], rows.double().mean(0))
    torch.testing.assert_close(moments.variance[0], rows.double().var(0, correction=0))
    assert moments.zeros[0].tolist() == (rows == 0).sum(0).tolist()
    gram = collect(model, weights, batches, Gram)["0.weight"]
    torch.testing.assert_close(gram.matrix[0], rows.T @ rows)
    assert gram.count == len(rows)


def test_weights_of_attention_and_of_exported_programs_are_seen():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            return self.attention(x, x, x, need_weights=False)[0]

    model, x = Attention().eval(), torch.randn(2, 3, 8)
    seen = collect(model, find_weights(model), [Batch((x,))], Moments)
    assert seen.keys() == {"attention.in_proj_weight", "attention.out_proj.weight"}
    exported = torch.export.export(nn.Sequential(nn.Linear(8, 4)).eval(), (x,))
    again = collect(exported.module(), find_weights(exported), [Batch((x,))], Moments)
    torch.testing.assert_close(again["0.weight"].mean, seen["attention.in_proj_weight"].mean)


def test_a_functional_use_is_seen():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x):
            return F.linear(x, self.layer.weight)

    model = Functional()
    assert collect(model, find_weights(model), [Batch((torch.randn(2, 4),))], Moments)["layer.weight"].count == 2


def test_data_that_does_not_fit_the_model():
    model = nn.Sequential(nn.Linear(4, 3))
    with pytest.raises(PruneError, match="cannot be run on an item of data"):
        collect(model, find_weights(model), [Batch((torch.randn(2, 5),))], Moments)

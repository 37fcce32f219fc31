from torch import nn

from sparsecomp.program import Removed
from tests.graphs import tensor
from tests.passes.removal_helpers import Chain, kill, removed


def test_each_group_says_where_how_many_and_what_went_with_it() -> None:
    model = Chain(nn.Linear(6, 8), nn.Linear(8, 5), nn.Linear(5, 3))
    kill(model.layers[0], [1, 4])
    kill(model.layers[1], [0])
    assert removed(model, tensor(4, 6)).removed == (
        Removed("layers.0", "linear", 1, 8, 2, ("linear", "relu")),
        Removed("layers.1", "linear_1", 1, 5, 1, ("linear_1", "relu_1")),
    )


def test_what_goes_in_a_second_round_is_added() -> None:
    """The bias of the second layer is constant only after the first layer's constants have moved into it."""
    model = Chain(nn.Linear(6, 8), nn.Linear(8, 5), nn.Linear(5, 3))
    kill(model.layers[0], [1, 4], bias=0.7)
    model.layers[1].weight.data[2, [0, 2, 3, 5, 6, 7]] = 0.0
    assert [(each.layer, each.removed) for each in removed(model, tensor(4, 6)).removed] == [
        ("layers.0", 2),
        ("layers.1", 1),
    ]


def test_a_tensor_that_is_constant_goes_as_a_whole() -> None:
    model = Chain(nn.Linear(6, 8), nn.Linear(8, 3))
    kill(model.layers[1], [0, 1, 2], bias=0.3)
    (entry,) = removed(model, tensor(4, 6)).removed
    assert (entry.layer, entry.slices, entry.removed) == ("layers.1", 3, 3)


def test_nothing_went_from_a_model_without_zeros() -> None:
    assert removed(Chain(nn.Linear(6, 8), nn.Linear(8, 3)), tensor(4, 6)).removed == ()

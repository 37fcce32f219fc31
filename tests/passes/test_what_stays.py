import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsecomp.passes.what_stays import what_stays
from tests.passes.removal_helpers import Chain, aten, kill, removed, shapes


@torch.library.custom_op("sparsecomp_test::scramble", mutates_args=())
def scramble(x: Tensor) -> Tensor:
    return x.flip(1) + x.sum(1, keepdim=True)


@scramble.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def test_an_operator_without_a_rule_keeps_what_it_touches_and_is_named() -> None:
    class Custom(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.three = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.three(scramble(self.two(F.relu(self.one(x)))))

    model = Custom()
    kill(model.one, [0, 1])
    kill(model.two, [2, 3])
    program = removed(model, torch.randn(4, 6))
    assert shapes(program, aten.linear.default) == [(6, 6), (8, 6), (2, 8)]
    (staying,) = [each for each in what_stays(program) if each.idle]
    assert (staying.idle, staying.slices) == (2, 8)
    assert "sparsecomp_test.scramble.default, an operator without a rule" in staying.reasons[0][0]


def test_a_dead_channel_next_to_a_live_one_stays_and_the_reason_is_the_live_one() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.one(x) + self.two(x))

    model = Residual()
    kill(model.one, [1])
    (staying,) = what_stays(removed(model, torch.randn(2, 3, 4, 4)))
    assert (staying.tensor, staying.axis, staying.idle) == ("conv2d", 1, 1)
    assert staying.reasons == (("coupled with a live slice: conv2d_2 reads it", 1),)


def test_nothing_is_reported_when_all_is_removed() -> None:
    model = Chain(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3))
    kill(model.layers[0], [0, 2], bias=0.9)
    assert what_stays(removed(model, torch.randn(2, 3, 8, 8))) == ()


def test_an_output_is_a_reason() -> None:
    model = Chain(nn.Linear(6, 8), nn.Linear(8, 3))
    kill(model.layers[1], [1])
    (staying,) = what_stays(removed(model, torch.randn(4, 6)))
    assert (staying.slices, staying.idle) == (3, 1)
    assert staying.reasons == (("output returns it", 1),)

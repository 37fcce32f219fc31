"""Custom operators in the middle of a model: compiled around, correct, reported."""

import pytest
import torch
from torch import Tensor, nn

import sparsecomp
from sparsecomp.errors import ArtifactError
from tests.graphs import net, tensor


@torch.library.custom_op("sparsecomp_callback::mix", mutates_args=())
def mix(x: Tensor, times: float) -> Tensor:
    return x.flip(1) * times + x.sum(1, keepdim=True)


@mix.register_fake
def _(x: Tensor, times: float) -> Tensor:
    return torch.empty_like(x)


LIBRARY = torch.library.Library("sparsecomp_composite", "DEF")  # kept: operators go with their library
LIBRARY.define("twice(Tensor x) -> Tensor")
LIBRARY.impl("twice", lambda x: x + x.relu(), "CompositeImplicitAutograd")


def between(operator):
    model = net(
        lambda net, x: net.three(operator(net.two(net.one(x).relu()))),
        one=nn.Linear(6, 8),
        two=nn.Linear(8, 8),
        three=nn.Linear(8, 2),
    )
    with torch.no_grad():
        for dead in (model.one.weight[:2], model.one.bias[:2], model.two.weight[3]):
            dead.zero_()
    return model


def test_it_is_called_the_rest_is_compiled_and_the_report_says_so():
    model = between(lambda x: mix(x, 2.5) + mix(x, 0.5))
    batch = {"inputs": ({0: torch.export.Dim("batch", min=1, max=9)},)}
    compiled = sparsecomp.compile(model, "native", (tensor(4, 6),), dynamic_shapes=batch)
    more = tensor(7, 6, seed=3)
    torch.testing.assert_close(compiled(more), model(more))
    assert [call.split()[0] for call in compiled.report.callbacks] == ["sparsecomp_callback.mix.default"] * 2
    assert sum(each["removed"] for each in compiled.report.removed) == 2
    (staying,) = compiled.report.staying
    assert (staying["layer"], staying["idle"]) == ("two", 1)
    assert "sparsecomp_callback.mix.default, an operator without a rule" in staying["reasons"][0][0]


def test_a_program_with_one_cannot_be_saved(tmp_path):
    compiled = sparsecomp.compile(between(lambda x: mix(x, 2.5)), "native", (tensor(4, 6),))
    with pytest.raises(ArtifactError, match=r"calls custom operators of torch \(sparsecomp_callback.mix.default"):
        compiled.save(tmp_path / "program")


def test_one_with_a_decomposition_is_compiled(tmp_path):
    model = between(torch.ops.sparsecomp_composite.twice)
    compiled = sparsecomp.compile(model, "native", (tensor(4, 6),))
    assert compiled.report.callbacks == ()
    assert compiled.report.staying == ()
    compiled.save(tmp_path / "program")
    torch.testing.assert_close(sparsecomp.load(tmp_path / "program")(tensor(4, 6)), model(tensor(4, 6)))

"""compile: everything that a user may hand in and expects back."""

from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import sparsecomp
from sparsecomp.errors import CaptureError, InputError, LoweringError, TargetError
from sparsecomp.targets import detect
from tests.graphs import assert_close, net, seed, tensor


@dataclass
class Features:
    image: Tensor
    gain: Tensor | None = None


@dataclass
class Answer:
    logits: Tensor
    hidden: tuple[Tensor, ...]
    loss: Tensor | None = None


for class_ in (Features, Answer):
    torch.export.register_dataclass(class_, serialized_type_name=f"tests.test_api.{class_.__name__}")
Pair = namedtuple("Pair", "first second")


class Model(nn.Module):
    """Takes and gives everything at once."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 4)

    def forward(self, features: Features, options: dict[str, list[Tensor]], *, scale: float = 2.0) -> dict[str, object]:
        hidden = self.head(features.image).relu_() * scale
        logits = hidden + options["bias"][0]
        return {
            "answer": Answer(logits, (hidden, features.image)),
            "pair": Pair(logits > 0, [logits.argmax(-1)]),
            "constants": (3, None, "text", 2.5, True),
            "size": logits.shape[-1],
        }


@pytest.fixture(scope="module")
def model():
    model = Model().eval()
    seed(model)
    return model


def inputs(batch: int = 3) -> tuple[Features, dict[str, list[Tensor]]]:
    return Features(tensor(batch, 6, seed=batch), None), {"bias": [tensor(4)]}


@pytest.fixture(scope="module")
def compiled(model):
    return sparsecomp.compile(model, "native", inputs())


@torch.no_grad()
def expected(model, *args, **kwargs):
    return model(*args, **kwargs)


def test_inputs_and_outputs_have_the_models_own_classes(model, compiled):
    result = compiled(*inputs())
    assert_close(result, expected(model, *inputs()))
    assert isinstance(result["answer"], Answer)
    assert isinstance(result["pair"], Pair)
    assert result["constants"] == (3, None, "text", 2.5, True)


def test_inputs_may_come_by_keyword_in_any_order(model, compiled):
    features, options = inputs()
    assert_close(compiled(options=options, features=features), expected(model, features, options))
    assert_close(compiled(features, options=options), expected(model, features, options))


def test_a_fixed_keyword_is_a_part_of_the_program(model):
    fixed = sparsecomp.compile(model, "native", inputs(), {"scale": 0.5})
    assert_close(fixed(*inputs(), scale=0.5), expected(model, *inputs(), scale=0.5))
    with pytest.raises(InputError, match=r"input scale was fixed to 0.5"):
        fixed(*inputs(), scale=0.25)


def test_an_exported_program_is_compiled_on_its_own_inputs(model):
    compiled = sparsecomp.compile(torch.export.export(model, inputs()))
    assert_close(compiled(*inputs()), expected(model, *inputs()))


def test_a_dynamic_batch_and_length():
    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(20, 8)
            self.head = nn.Linear(8, 4)

        def forward(self, ids, mask):
            rows = self.table(ids) * mask[..., None]
            return self.head(rows.sum(1) / mask.sum(1, keepdim=True)).softmax(-1), ids.shape

    def call(batch, length):
        ids = torch.arange(batch * length).reshape(batch, length) % 20
        return ids, (ids % 3 > 0).float()

    model = Mean().eval()
    seed(model)
    sizes = {0: Dim("batch", min=1, max=9), 1: Dim("length", min=2, max=40)}

    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean = model

        def forward(self, ids, mask):
            return self.mean(ids, mask)[0]

    compiled = sparsecomp.compile(Alone().eval(), "native", call(2, 5), dynamic_shapes={"ids": sizes, "mask": sizes})
    for batch, length in [(2, 5), (1, 2), (9, 40), (3, 17)]:
        assert_close(compiled(*call(batch, length)), expected(model, *call(batch, length))[0])
    ids, mask = call(3, 5)
    with pytest.raises(InputError, match=r"mask has size 4 on axis 1, expected 5"):
        compiled(ids, mask[:, :4])
    with pytest.raises(InputError, match="ids has size 41 on axis 1, expected 2 to 40"):
        compiled(*call(2, 41))


def test_a_derived_size():
    length = Dim("length", min=2, max=50)
    model = net(lambda net, x, y: torch.cat([x, x], 1) * y)
    compiled = sparsecomp.compile(
        model, "native", (tensor(2, 4), tensor(2, 8)), dynamic_shapes={"inputs": ({1: length}, {1: 2 * length})}
    )
    assert_close(compiled(tensor(2, 7), tensor(2, 14)), expected(model, tensor(2, 7), tensor(2, 14)))
    with pytest.raises(InputError, match=r"has size 13 on axis 1, expected 14 = 2\*"):
        compiled(tensor(2, 7), tensor(2, 13))


def test_a_size_that_must_be_even_is_refused():
    """A limit: the symbol stands nowhere alone."""
    model = net(lambda net, x: x.view(-1, 2).sum(1))
    with pytest.raises(LoweringError, match=r"is no size of an input by itself, .* vary freely, or fix it"):
        sparsecomp.compile(model, "native", (tensor(8),), dynamic_shapes={"inputs": ({0: 2 * Dim("half")},)})


class Optional(nn.Module):
    def forward(self, x, _unused, mask=None, gain=1.5, *, mode="sum"):
        y = x * gain if mask is None else x * mask
        return y.sum() if mode == "sum" else y


@pytest.mark.parametrize("options", [{}, {"mask": None}, {"mask": torch.ones(3)}, {"gain": 2.5}, {"mode": "none"}])
def test_inputs_that_are_optional_fixed_unused_or_without_axes(options):
    model, x = Optional().eval(), torch.tensor(2.0)
    compiled = sparsecomp.compile(model, "native", (x, tensor(2)), options)
    assert_close(compiled(x, tensor(2), **options), expected(model, x, tensor(2), **options))


def test_integers_and_booleans():
    def forward(net, i, mask):
        return torch.where(mask, i * 3, i - 5), mask.logical_not(), i.sum(), (i > 4) & mask, i.float() / 2

    model = net(forward)
    i, mask = torch.arange(12).reshape(3, 4), torch.arange(12).reshape(3, 4) % 3 == 0
    compiled = sparsecomp.compile(model, "native", (i, mask))
    assert_close(compiled(i, mask), expected(model, i, mask))


def test_a_batch_of_none():
    model = net(lambda net, x: net.head(x).relu() + 1, head=nn.Linear(6, 4))
    compiled = sparsecomp.compile(
        model, "native", (tensor(3, 6),), dynamic_shapes={"inputs": ({0: Dim("batch", min=0)},)}
    )
    assert compiled(tensor(5, 6)).shape == (5, 4)
    assert compiled(torch.empty(0, 6)).shape == (0, 4)


def test_one_image_without_a_batch():
    parts = {
        "conv": nn.Conv2d(3, 4, 3, padding=1),
        "norm": nn.BatchNorm2d(4),
        "scale": nn.Parameter(torch.empty(4, 1, 1)),
    }
    model = net(lambda net, x: net.conv(x).relu() * net.scale, **parts)
    compiled = sparsecomp.compile(model, "native", (tensor(3, 8, 8),))
    assert_close(compiled(tensor(3, 8, 8)), expected(model, tensor(3, 8, 8)))


def everything(net, x):
    """Outputs that are, or show, an input or a weight."""
    return (
        x,
        x.view(-1),
        x.t(),
        x[0],
        x[1:],
        x[None],
        x.expand(2, 3, 4),
        x.chunk(2, 1),
        x.clone(),
        net.w,
        net.w.t(),
        net.w[0],
    )


def test_outputs_are_never_inputs_weights_or_views_of_them():
    model = net(everything, w=nn.Parameter(torch.empty(3, 4)))
    compiled = sparsecomp.compile(model, "native", (tensor(3, 4),))
    x = tensor(3, 4)
    first, reference = compiled(x), [y.clone() for y in torch.utils._pytree.tree_leaves(expected(model, x))]
    x.fill_(100)
    found = torch.utils._pytree.tree_leaves(first)
    assert_close(found, reference)
    for y in found:
        y.fill_(200)
    assert_close(torch.utils._pytree.tree_leaves(compiled(tensor(3, 4))), reference)


def test_changes_of_the_model_do_not_reach_the_compiled_program():
    parts = {"conv": nn.Conv2d(3, 4, 3), "norm": nn.BatchNorm2d(4), "bias": nn.Parameter(torch.empty(4, 1, 1))}
    model = net(lambda net, x: net.norm(net.conv(x)).relu() + net.bias, **parts)
    x = tensor(1, 3, 6, 6)
    compiled = sparsecomp.compile(model, "native", (x,))
    before = expected(model, x)
    for parameter in model.parameters():
        parameter.data.fill_(7)
    model.norm.running_mean.fill_(7)
    assert_close(compiled(x), before)


def test_tied_weights():
    embedding, head = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)
    head.weight = embedding.weight
    model = net(lambda net, i: net.head(net.embedding(i)), embedding=embedding, head=head)
    compiled = sparsecomp.compile(model, "native", (torch.tensor([[1, 5, 0]]),))
    other = torch.tensor([[2, 2, 4]])
    assert_close(compiled(other), expected(model, other))


def test_without_inputs_the_first_call_compiles(model):
    stages = []
    lazy = sparsecomp.compile(model, progress=stages.append)
    assert stages == []
    assert_close(lazy(*inputs()), expected(model, *inputs()))
    assert stages[0] == "capture"
    count = len(stages)
    assert_close(lazy(*inputs()), expected(model, *inputs()))
    assert len(stages) == count


def test_without_inputs_a_wrong_first_call_leaves_it_as_it_was(model):
    lazy = sparsecomp.compile(model)
    with pytest.raises(CaptureError, match="hold no tensor"):
        lazy()
    assert_close(lazy(*inputs()), expected(model, *inputs()))


def test_without_inputs_there_is_no_report_yet(model):
    with pytest.raises(CaptureError, match="or call the compiled program once"):
        _ = sparsecomp.compile(model).report


def test_a_target_of_the_users_own(model):
    compiled = sparsecomp.compile(model, detect(), inputs())
    assert compiled.target == detect()


def test_a_program_for_another_machine_says_so_when_called():
    other = next(target for target in sparsecomp.targets() if target.arch != detect().arch)
    compiled = sparsecomp.compile(net(lambda net, x: x + 1), other, (tensor(3),))
    with pytest.raises(TargetError, match=f"cannot run here: it is for {other.arch}"):
        compiled(tensor(3))
    assert compiled.report.relative_error is None


def test_targets_are_listed_this_machine_first():
    assert sparsecomp.targets()[0] == detect()
    assert len({target.name for target in sparsecomp.targets()}) == len(sparsecomp.targets())


def test_strict_refuses_weights_with_zeros_that_run_dense():
    model = net(lambda net, x: net.head(x), head=nn.Linear(4, 3))
    model.head.weight.data[0, 0] = 0
    with pytest.raises(sparsecomp.LoweringError, match=r"head: density 0\.917"):
        sparsecomp.compile(model, "native", (tensor(2, 4),), strict=True)
    model.head.weight.data[0, 0] = 1
    sparsecomp.compile(model, "native", (tensor(2, 4),), strict=True)


def test_the_program_can_be_called_at_its_stages():
    x = tensor(2, 4)
    compiled = sparsecomp.compile(net(lambda net, x: net.head(x).relu(), head=nn.Linear(4, 3)), "native", (x,))
    for stage in ("captured", "fused"):
        torch.testing.assert_close(compiled.program(stage)(x), compiled(x))
    with pytest.raises(
        sparsecomp.SparsecompError, match="no stage 'middle'; there are: captured, propagated, removed, fused"
    ):
        compiled.program("middle")

"""Capture: what comes in is traced to a functional graph that computes the same."""

import warnings
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim

from sparsecomp.capture import capture, check_model
from sparsecomp.errors import CaptureError
from tests.graphs import assert_close, net, operators, program, seed, tensor


class Forms(nn.Module):
    def forward(self, x: Tensor, y: Tensor, *, scale: float = 2.0, shift: Tensor | None = None) -> dict[str, object]:
        z = x * scale + y
        return {"z": z if shift is None else z + shift, "none": None, "n": 3, "pair": (x, [y])}


@dataclass
class Batch:
    ids: Tensor
    mask: Tensor | None = None


torch.export.register_dataclass(Batch, serialized_type_name="tests.test_capture.Batch")

x, y = tensor(2, 3), tensor(3, seed=2)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((x, y), None),
        ([x, y], {}),
        ((x,), {"y": y}),
        (None, {"x": x, "y": y}),
        ((x, y), {"scale": 3.0}),
        ((x, y), {"shift": y}),
        ((x, y), {"shift": y, "scale": 0.5}),
    ],
)
def test_inputs_in_any_form_and_outputs_in_the_models_structure(args, kwargs):
    model = Forms().eval()
    captured = capture(model, args, kwargs)
    assert_close(captured(*(args or ()), **(kwargs or {})), model(*(args or ()), **(kwargs or {})))


def test_one_tensor_stands_for_a_tuple_of_one():
    captured = capture(net(lambda net, x: x.relu()), x)
    assert captured.args == (x,)
    assert torch.equal(captured(x), x.relu())


def test_dataclasses_come_in_and_out():
    class Model(nn.Module):
        def forward(self, batch: Batch) -> Batch:
            return Batch(batch.ids * batch.mask, None)

    model = Model().eval()
    batch = Batch(x, y)
    result = capture(model, (batch,))(batch)
    assert isinstance(result, Batch)
    assert torch.equal(result.ids, x * y)


def test_an_exported_program_brings_its_inputs():
    model = Forms().eval()
    captured = capture(torch.export.export(model, (x, y), {"scale": 3.0}))
    assert_close(captured(*captured.args, **captured.kwargs), model(x, y, scale=3.0))


INPLACE = {
    "relu": lambda net, x: F.relu(x + 1, inplace=True),
    "add": lambda net, x: (x * 2).add_(x),
    "item of a slice": lambda net, x: fill(x.clone()),
    "copy": lambda net, x: torch.empty_like(x).copy_(x) + 1,
    "zero": lambda net, x: (x + 1).zero_() + x,
    "view of it": lambda net, x: add_to_view(x * 1),
}


def fill(x):
    x[:, 1] = 5
    return x


def add_to_view(x):
    x.view(-1).add_(1)
    return x


@pytest.mark.parametrize("name", INPLACE)
def test_in_place_forms_become_functional(name):
    captured = program(INPLACE[name], x.clone())
    assert not [name for name in operators(captured) if name.split(".")[0].endswith("_")]
    assert all(not node.target._schema.is_mutable for node in captured.calls())
    assert_close(captured(x), net(INPLACE[name])(x.clone()))


COMPOSITE = {
    "linear": (nn.Linear(6, 6), "linear"),
    "layer_norm": (nn.LayerNorm(6), "layer_norm"),
    "group_norm": (nn.GroupNorm(2, 4), "group_norm"),
    "gelu": (nn.GELU(), "gelu"),
    "softmax": (nn.Softmax(-1), "softmax"),
    "conv1d": (nn.Conv1d(4, 5, 3), "conv1d"),
    "silu": (nn.SiLU(), "silu"),
    "hardswish": (nn.Hardswish(), "hardswish"),
}


@pytest.mark.parametrize("name", COMPOSITE)
def test_operators_that_mean_something_stay_whole(name):
    module, operator = COMPOSITE[name]
    (found,) = operators(program(lambda net, x: net.part(x), tensor(2, 4, 6), part=module))
    assert found.split(".")[0] == operator


def test_batch_norm_is_one_operator():
    captured = program(lambda net, x: net.part(x), tensor(2, 4, 6), part=nn.BatchNorm1d(4))
    assert operators(captured)[0] in ("batch_norm.default", "_native_batch_norm_legit_no_training.default")


def test_a_batch_norm_without_running_statistics_is_refused():
    with pytest.raises(CaptureError, match=r"is in training mode; .* let batch norms track running statistics"):
        program(lambda net, x: net.part(x), tensor(2, 4, 6), part=nn.BatchNorm1d(4, track_running_stats=False))


def test_attention_stays_whole():
    found = operators(program(lambda net, q: F.scaled_dot_product_attention(q, q, q), tensor(1, 2, 4, 8)))
    assert found == ["scaled_dot_product_attention.default"]


def test_a_module_in_evaluation_mode_with_dropout_and_batch_norm_is_taken():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5)).eval()
    seed(model)
    image = tensor(2, 3, 4, 4)
    assert_close(capture(model, (image,))(image), model(image))


def test_tied_weights_are_one_tensor():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)).eval()
    model[1].weight = model[0].weight
    captured = capture(model, (x,))
    assert len({weight.data_ptr() for weight in captured.weights().values()}) == 1


def test_every_node_has_a_value():
    captured = program(lambda net, x: net.part(x).chunk(2, 1), tensor(2, 4), part=nn.Linear(4, 4))
    assert all(node.meta.get("val") is not None for node in captured.graph.nodes if node.op != "output")


@pytest.mark.parametrize(
    "shapes",
    [
        {"x": {0: Dim("batch")}, "y": None},
        {"x": {0: Dim("batch", min=2, max=64)}, "y": None},
        ({0: Dim.DYNAMIC}, None),
        {"x": {0: Dim.AUTO}, "y": None},
    ],
)
def test_a_dynamic_batch(shapes):
    class Model(nn.Module):
        def forward(self, x, y):
            return x * y

    captured = capture(Model().eval(), (x, y), None, shapes)
    assert captured(tensor(17, 3), y).shape == (17, 3)
    assert captured.range_constraints


def test_two_dynamic_sizes_and_one_derived():
    length = Dim("length", min=2, max=50)
    captured = program(
        lambda net, x, y: torch.cat([x, x], 1) + y,
        tensor(2, 4),
        tensor(2, 8),
        dynamic=({0: Dim("batch"), 1: length}, {0: Dim("batch"), 1: 2 * length}),
    )
    assert captured(tensor(5, 7), tensor(5, 14)).shape == (5, 14)


def test_inputs_that_need_gradients_are_taken():
    captured = capture(net(lambda net, x: x.relu()), (tensor(2, 3).requires_grad_(),))
    assert not captured(tensor(2, 3)).requires_grad


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x):
        self.count.add_(1)
        return x + self.count


def test_a_model_that_changes_its_state_is_refused():
    with pytest.raises(CaptureError, match=r"changes its own state or inputs \(count\); return the new value instead"):
        capture(Counter().eval(), (x,))


def test_a_model_that_changes_its_inputs_is_refused():
    with pytest.raises(CaptureError, match="changes its own state or inputs"):
        capture(net(lambda net, x: x.add_(1)), (x.clone(),))


def test_users_see_no_warnings_about_torch_itself():
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        program(lambda net, x: (x + 1, x), x)


def test_the_model_keeps_its_mode_and_its_weights():
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout()).eval()
    weight = model[0].weight.detach().clone()
    capture(model, (x,))
    assert not model.training
    assert model[0].weight.requires_grad
    assert torch.equal(model[0].weight, weight)


@pytest.mark.parametrize("model", [net(lambda net, x: x), torch.export.export(net(lambda net, x: x + 1), (x,))])
def test_check_takes_modules_and_exported_programs(model):
    check_model(model)

from io import BytesIO
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from benchmarks import zoo
from benchmarks.structured import GROUPS, zero_slices
from sparsecomp.errors import CaptureError
from sparsecomp.simplification import simplify


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = torch.relu(self.norm(self.conv(x)))
        return {"logits": self.head(y.mean((2, 3)))}


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    network = Network().eval()
    with torch.no_grad():
        for tensor in (network.conv.weight, network.conv.bias, network.norm.weight, network.norm.bias):
            tensor[::2] = 0.0
    return network


X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in module.named_parameters()}


def test_the_module_is_smaller_and_computes_the_same_in_the_same_structure(model: nn.Module) -> None:
    small = simplify(model, (X,))
    assert shapes(small)["conv.weight"] == (4, 3, 3, 3)
    assert shapes(small)["norm.weight"] == (4,)
    torch.testing.assert_close(small(X), model(X))
    assert shapes(model)["conv.weight"] == (8, 3, 3, 3)


def test_it_can_be_exported_and_saved(model: nn.Module) -> None:
    file = BytesIO()
    torch.export.save(torch.export.export(simplify(model, (X,)), (X,)), file)
    file.seek(0)
    torch.testing.assert_close(torch.export.load(file).module()(X), model(X))


def test_it_can_be_exported_to_onnx(model: nn.Module, tmp_path: Path) -> None:
    small = simplify(model, (X,))
    assert not small.training
    path = tmp_path / "small.onnx"
    torch.onnx.export(small, (X,), path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path)
    (logits,) = session.run(None, {session.get_inputs()[0].name: X.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), model(X)["logits"])


def test_it_can_be_saved_whole(model: nn.Module) -> None:
    file = BytesIO()
    torch.save(simplify(model, (X,)), file)
    file.seek(0)
    torch.testing.assert_close(torch.load(file, weights_only=False)(X), model(X))


def test_weights_in_any_layout_and_folded_biases_can_be_trained() -> None:
    """The layers of GPT-2 hold weights by input; constants that moved into a bias make a bias where there was none."""
    found = zoo.load("gpt2", full=False)
    network, inputs = found.build(), found.inputs()
    zero_slices(GROUPS["gpt2"](network), 0.5)
    small = simplify(network, inputs.args, inputs.kwargs)
    matrices = [name for name, tensor in small.named_buffers() if tensor.dim() > 1 and tensor.is_floating_point()]
    assert all(bool((small.get_buffer(name).unique() <= 0).all()) for name in matrices), "only masks are no parameters"
    expected = network(*inputs.args, **inputs.kwargs).logits
    torch.testing.assert_close(small(*inputs.args, **inputs.kwargs).logits, expected)
    small(*inputs.args, **inputs.kwargs).logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in small.parameters())


def test_it_can_be_trained_without_changing_the_model(model: nn.Module) -> None:
    small = simplify(model, (X,))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(small.parameters(), lr=0.1)
    first = small(X)["logits"].square().mean()
    first.backward()
    optimizer.step()
    assert small(X)["logits"].square().mean() < first
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_sizes_can_vary(model: nn.Module) -> None:
    small = simplify(model, (X,), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=8)},))
    more = torch.randn(5, 3, 6, 6)
    torch.testing.assert_close(small(more), model(more))


def test_a_model_in_training_mode_is_refused(model: nn.Module) -> None:
    with pytest.raises(CaptureError, match="training mode"):
        simplify(model.train(), (X,))

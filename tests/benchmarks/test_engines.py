from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import engines, networks, zoo


def test_outputs_are_flattened_in_the_models_order() -> None:
    found = engines.leaves({"a": torch.ones(2), "b": [np.zeros(3), None]})
    assert [array.shape for array in found] == [(2,), (3,)]


def test_the_error_is_that_of_the_worst_output() -> None:
    reference = [np.array([3.0, 4.0]), np.array([1.0])]
    assert engines.relative_error([np.array([3.0, 4.0]), np.array([1.5])], reference) == 0.5


def test_another_shape_is_an_infinite_error() -> None:
    assert engines.relative_error([np.zeros(2)], [np.zeros((1, 2))]) == float("inf")
    assert engines.relative_error([], [np.zeros(1)]) == float("inf")


@torch.no_grad()
@pytest.mark.parametrize("name", ["lstm", "bert"])
def test_onnx_runtime_agrees_with_float64(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = zoo.load(name, full=False)
    job = engines.Job(model.build(), model.inputs(), 1, tmp_path)
    outputs = engines.leaves(engines.onnxruntime(job)())
    assert engines.relative_error(outputs, engines.leaves(engines.reference(job)())) < 1e-5


def test_the_command_line_names_what_there_is() -> None:
    options = networks.arguments(["--models", "bert,vit", "--sparsities", "0,0.9", "--engines", "eager", "-o", "out"])
    assert (options.models, options.sparsities, options.engines) == (["bert", "vit"], [0.0, 0.9], ["eager"])


@pytest.mark.parametrize(
    ("option", "message"), [(["--models", "resnet"], "there are: resnet50"), (["--sparsities", "90"], "such as 0.9")]
)
def test_the_command_line_refuses(option: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        networks.arguments([*option, "-o", "out"])
    assert message in capsys.readouterr().err

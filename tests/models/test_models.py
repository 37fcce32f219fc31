"""Every network of the zoo, at its small size, compiled and compared with PyTorch."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import sparsecomp
from benchmarks import zoo
from sparsecomp.engine import Engine
from sparsecomp.runtime import Compiled

TOLERANCE = 1e-4
DYNAMIC = [name for name in zoo.NAMES if zoo.load(name, full=False).dynamic_shapes]
OTHER_SIZES = [(1, 9), (3, 17)]


@pytest.mark.parametrize("name", zoo.NAMES)
def test_compiled_at_one_size_computes_what_the_model_computes(name: str) -> None:
    model = zoo.load(name, full=False)
    network, inputs = model.build(), model.inputs()
    compiled = sparsecomp.compile(network, "native", inputs.args, inputs.kwargs)
    assert_same(compiled(*inputs.args, **inputs.kwargs), run(network, inputs))
    assert_same_in_the_virtual_machine(compiled, inputs)


@pytest.mark.parametrize("name", DYNAMIC)
def test_compiled_once_runs_at_other_sizes(name: str) -> None:
    model = zoo.load(name, full=False)
    network, inputs = model.build(), model.inputs(batch=2)
    compiled = sparsecomp.compile(network, "native", inputs.args, inputs.kwargs, dynamic_shapes=model.dynamic_shapes)
    for batch, length in OTHER_SIZES:
        other = model.inputs(batch, length)
        assert_same(compiled(*other.args, **other.kwargs), run(network, other))


def assert_same_in_the_virtual_machine(compiled: Compiled, inputs: zoo.Inputs) -> None:
    """The program as one function, whose threads share its work in another way in each call, gives the same bits."""
    library = compiled.prepare()
    assert library.plan is not None
    parts = (library.module, list(library.weights.values()), library.signature, library.copied)
    whole, machine = Engine(*parts, library.plan), Engine(*parts)
    wanted = machine(inputs.args, inputs.kwargs)
    for _ in range(5):
        assert all(map(torch.equal, whole(inputs.args, inputs.kwargs), wanted))


@torch.no_grad()
def run(network: nn.Module, inputs: zoo.Inputs) -> Any:
    return network(*inputs.args, **inputs.kwargs)


def assert_same(outputs: Any, expected: Any) -> None:
    """Same structure (pytree), shapes and dtypes, and every tensor within the tolerance that users are promised."""
    found, structure = pytree.tree_flatten(outputs)
    wanted, wanted_structure = pytree.tree_flatten(expected)
    assert structure == wanted_structure
    for y, ref in zip(found, wanted, strict=True):
        assert isinstance(y, Tensor)
        assert (y.shape, y.dtype) == (ref.shape, ref.dtype)
        assert relative_error(y, ref) <= TOLERANCE


def relative_error(y: Tensor, ref: Tensor) -> float:
    return float((y.double() - ref.double()).norm() / ref.double().norm())

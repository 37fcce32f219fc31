import pytest
import torch
from torch.utils import _pytree as pytree

from benchmarks import zoo


@pytest.mark.parametrize("name", zoo.NAMES)
def test_weights_inputs_and_outputs_are_the_same_every_time(name: str) -> None:
    with torch.no_grad():
        first, second = (_outputs(name) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.isfinite(leaf).all() and leaf.std() > 1e-3 for leaf in first)


def _outputs(name: str) -> list[torch.Tensor]:
    model = zoo.load(name, full=False)
    network, inputs = model.build(), model.inputs(batch=2)
    assert not network.training
    return pytree.tree_leaves(network(*inputs.args, **inputs.kwargs))


def test_batch_norm_statistics_are_not_the_defaults() -> None:
    buffers = dict(zoo.load("resnet50", full=False).build().named_buffers())
    for kind, default in {"running_mean": 0.0, "running_var": 1.0}.items():
        values = torch.cat([value.flatten() for name, value in buffers.items() if name.endswith(kind)])
        assert (values != default).all()


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match="no model 'resnet' in the zoo; there are: resnet50, mobilenetv2"):
        zoo.load("resnet")

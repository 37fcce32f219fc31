"""From pytree specifications to the signature."""

from collections import OrderedDict, namedtuple

import pytest
import torch
from torch import nn
from torch.export import Dim
from torch.utils import _pytree as pytree

from sparsecomp.calling import shared_outputs, signature_of
from sparsecomp.capture import capture
from sparsecomp.errors import CaptureError
from sparsecomp.passes import Canonicalize
from sparsecomp.signature import Input
from tests.graphs import net, program, tensor


class Model(nn.Module):
    def forward(self, image, options, *, mask=None, scale=2.0):
        y = image * options["gain"][0] * scale
        return y if mask is None else y + mask


IMAGE, GAIN = tensor(2, 3), tensor(3)


def signature(*args, dynamic=None, **kwargs):
    model = Model().eval()
    return signature_of(capture(model, args, kwargs, dynamic), model)


def test_inputs_have_names_types_and_shapes():
    found = signature(IMAGE, {"gain": [GAIN]}, mask=IMAGE, scale=3.0)
    assert (found.parameters, found.positional, found.keywords) == (
        ("image", "options", "mask", "scale"),
        2,
        ("mask", "scale"),
    )
    assert [input_.dtype for input_ in found.inputs] == ["float32", "float32", "float32", ""]
    assert [input_.shape for input_ in found.inputs[:3]] == [(2, 3), (3,), (2, 3)]
    assert found.inputs[0] == Input("image", "float32", (2, 3))
    assert found.inputs[3].value == 3.0


def test_a_call_is_flattened_as_it_was_captured():
    found = signature(IMAGE, {"gain": [GAIN]}, mask=IMAGE)
    leaves = found.flatten((IMAGE,), {"mask": IMAGE, "options": {"gain": [GAIN]}})
    assert [leaf is expected for leaf, expected in zip(leaves, (IMAGE, GAIN, IMAGE), strict=True)] == [True] * 3


def test_dynamic_sizes_have_symbols_and_ranges():
    batch = Dim("batch", min=2, max=16)
    found = signature(IMAGE, {"gain": [GAIN]}, dynamic={"image": {0: batch}, "options": {"gain": [None]}})
    (symbol, size) = found.inputs[0].shape
    assert isinstance(symbol, str)
    assert size == 3
    assert found.ranges == {symbol: (2, 16)}


def test_an_open_range_has_no_upper_end():
    found = signature(IMAGE, {"gain": [GAIN]}, dynamic={"image": {0: Dim("batch")}, "options": {"gain": [None]}})
    ((low, high),) = found.ranges.values()
    assert low <= 2
    assert high is None


def test_derived_sizes_are_expressions():
    half = Dim("half", min=1, max=99)
    found = signature_of(
        program(lambda net, x, y: torch.cat([x, x]) + y, tensor(3), tensor(6), dynamic=({0: half}, {0: 2 * half}))
    )
    (single,), (double,) = found.inputs[0].shape, found.inputs[1].shape
    assert double == f"2*{single}"


Pair = namedtuple("Pair", "first second")
OUTPUTS = {
    "one": lambda net, x: x + 1,
    "tuple": lambda net, x: (x + 1, x - 1),
    "list": lambda net, x: [x + 1],
    "dict": lambda net, x: {"b": x + 1, "a": x - 1},
    "nested": lambda net, x: {"a": (x + 1, [x - 1, {"deep": x * 2}])},
    "constants": lambda net, x: (x + 1, None, 3, "text", 2.5, True),
    "twice": lambda net, x: (lambda y: (y, y))(x + 1),
    "none": lambda net, x: (None, x + 1),
    "empty": lambda net, x: ((), x + 1, {}),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_are_rebuilt_in_their_structure(name):
    captured = program(OUTPUTS[name], tensor(2, 3))
    expected = captured(*captured.args)
    results = [leaf for leaf in pytree.tree_leaves(expected) if isinstance(leaf, torch.Tensor)]
    rebuilt = signature_of(captured).outputs_by()(results)
    assert str(rebuilt) == str(expected)


def test_named_tuples_and_ordered_dicts_come_back_as_records():
    rebuilt = signature_of(program(lambda net, x: Pair(x + 1, OrderedDict(z=x, a=x * 2)), tensor(2))).outputs_by()(
        [1, 2, 3]
    )
    assert rebuilt.first == 1
    assert (rebuilt.second.z, rebuilt.second.a) == (2, 3)


def test_sizes_that_vary_are_no_outputs():
    captured = program(lambda net, x: (x + 1, x.shape[0]), tensor(3), dynamic=({0: Dim("n")},))
    with pytest.raises(CaptureError, match=r"returns sizes that vary \(.*\); return tensors only"):
        signature_of(captured)


class Opaque:
    def __init__(self, tensor):
        self.tensor = tensor


pytree.register_pytree_node(
    Opaque,
    lambda box: ([box.tensor], None),
    lambda items, _: Opaque(*items),
    flatten_with_keys_fn=lambda box: ([(pytree.GetAttrKey("tensor"), box.tensor)], None),
)


def test_an_input_that_is_no_container_we_know_is_refused():
    captured = program(lambda net, box: box.tensor + 1, Opaque(tensor(2)))
    with pytest.raises(CaptureError, match="tuples, lists, dicts and dataclasses only"):
        signature_of(captured)


def test_an_output_that_is_no_container_we_know_is_flat_in_a_saved_program():
    rebuilt = signature_of(program(lambda net, x: Opaque(x + 1), tensor(2))).outputs_by()(["y"])
    assert rebuilt == ["y"]


SHARED = {
    "input": (lambda net, x: x, True),
    "weight": (lambda net, x: (x + 1, net.weight)[1], True),
    "view": (lambda net, x: x.view(-1), True),
    "transposed": (lambda net, x: x.t(), True),
    "slice": (lambda net, x: x[1:], True),
    "row": (lambda net, x: x[0], True),
    "new axis": (lambda net, x: x[None], True),
    "expanded": (lambda net, x: x.expand(4, 2, 3), True),
    "chunk": (lambda net, x: x.chunk(2)[1], True),
    "copy": (lambda net, x: x.clone(), True),
    "view of a weight": (lambda net, x: (x + 1, net.weight.view(-1))[1], True),
    "computed": (lambda net, x: x + 1, False),
    "view of what was computed": (lambda net, x: (x + 1).view(-1), False),
    "concatenated": (lambda net, x: torch.cat([x, x]), False),
}


@pytest.mark.parametrize("name", SHARED)
def test_outputs_that_may_share_memory_are_known(name):
    function, shared = SHARED[name]
    captured = program(function, tensor(2, 3), weight=nn.Parameter(torch.empty(2, 3)))
    Canonicalize().apply(captured)
    assert shared_outputs(captured) == ((0,) if shared else ())


def test_only_the_outputs_that_share_are_named():
    captured = capture(net(lambda net, x: (x + 1, 5, x, x * 2)), (tensor(2),))
    assert shared_outputs(captured) == (1,)

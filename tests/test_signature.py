"""The check of a call."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsecomp.errors import InputError
from sparsecomp.signature import Input, Output, Signature
from sparsecomp.structure import describe

plain_values = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=3)
names = st.text("abcxyz_", min_size=1, max_size=3)
dims = st.integers(0, 9) | st.sampled_from(["s0", "2*s0", "s1 + 1"])
signatures = st.builds(
    Signature,
    parameters=st.lists(names, max_size=3).map(tuple),
    positional=st.integers(0, 3),
    keywords=st.lists(names, max_size=3).map(tuple),
    inputs=st.lists(
        st.builds(Input, names, st.sampled_from(["float32", "int64"]), st.lists(dims, max_size=3).map(tuple))
        | st.builds(Input, names, value=plain_values),
        max_size=3,
    ).map(tuple),
    structure=st.recursive(
        st.none(),
        lambda inner: st.lists(inner, max_size=3).map(lambda items: describe(tuple(items)) | {"tuple": items}),
        max_leaves=5,
    ),
    outputs=st.lists(st.builds(Output, st.integers(0, 3)) | st.builds(Output, st.none(), plain_values), max_size=3).map(
        tuple
    ),
    output_structure=st.none(),
    ranges=st.dictionaries(names, st.tuples(st.integers(0, 9), st.none() | st.integers(10, 99)), max_size=2),
)


@given(signatures)
def test_json_round_trip(signature):
    assert Signature.from_dict(json.loads(json.dumps(signature.to_dict()))) == signature


def make(*inputs, positional=None, keywords=(), ranges=None):
    """A signature with these flat inputs, called x, y, z ..."""
    positional = len(inputs) if positional is None else positional
    given = [input_.name for input_ in inputs]
    structure = describe((tuple(range(positional)), dict.fromkeys(keywords, 0)))
    return Signature(tuple(given), positional, keywords, inputs, structure, (Output(0),), None, ranges or {})


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


X, Y = Input("x", "float32", (2, 3)), Input("y", "float32", (3,))
BY_POSITION = make(X, Y)
BY_KEYWORD = make(X, Y, positional=1, keywords=("y",))
x, y = zeros(2, 3), zeros(3)


@pytest.mark.parametrize("signature", [BY_POSITION, BY_KEYWORD], ids=["captured by position", "captured by keyword"])
@pytest.mark.parametrize(
    ("args", "kwargs"), [((x, y), {}), ((x,), {"y": y}), ((), {"x": x, "y": y}), ((), {"y": y, "x": x})]
)
def test_inputs_come_in_either_form(signature, args, kwargs):
    first, second = signature.flatten(args, kwargs)
    assert first is x
    assert second is y


def test_keywords_come_in_any_order():
    signature = make(X, Y, positional=0, keywords=("x", "y"))
    first, second = signature.flatten((), {"y": y, "x": x})
    assert (first is x, second is y) == (True, True)


@pytest.mark.parametrize("signature", [BY_POSITION, BY_KEYWORD], ids=["captured by position", "captured by keyword"])
@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((x,), {}, r"expected 2 inputs \(x: float32\[2, 3\], y: float32\[3\]\), got 1 by position and none by keyword"),
        ((), {}, "got 0 by position"),
        ((x, y, y), {}, "got 3 by position"),
        ((x, y), {"y": y}, r"got 2 by position and \['y'\] by keyword"),
        ((x,), {"x": x}, r"got 1 by position and \['x'\] by keyword"),
        ((x,), {"z": y}, r"unknown: \['z'\]"),
        ((x, y), {"z": y}, r"unknown: \['z'\]"),
    ],
)
def test_a_wrong_number_or_name_is_refused(signature, args, kwargs, message):
    with pytest.raises(InputError, match=message):
        signature.flatten(args, kwargs)


class Elsewhere:
    """A tensor of another device."""

    shape, dtype, device, is_cpu = (2, 3), "float32", "cuda:0", False

    def __dlpack__(self):
        raise AssertionError("it must be refused before it is read")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([[0.0] * 3] * 2, r"input x must be a torch tensor or numpy array \(x: float32\[2, 3\]\), got list"),
        (None, "input x must be a torch tensor or numpy array .* got NoneType"),
        (zeros(2, 3, dtype=np.float64), "input x has dtype float64, expected float32; convert it first"),
        (zeros(2, 3, dtype=">f4"), "input x has dtype >f4, expected float32"),
        (zeros(6), r"input x has rank 1 \(6,\), expected x: float32\[2, 3\]"),
        (zeros(2, 4), r"input x has size 4 on axis 1, expected 3 \(x: float32\[2, 3\]\)"),
        (zeros(0, 3), "input x has size 0 on axis 0, expected 2"),
        (Elsewhere(), r"input x is on cuda:0, expected the cpu; use .cpu\(\)"),
    ],
)
def test_a_wrong_tensor_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        BY_POSITION.flatten((given, y), {})


def test_a_wrong_nesting_is_refused():
    signature = replace(make(X), structure=describe((({"image": 0},), {})))
    assert signature.flatten(({"image": x},), {})[0] is x
    with pytest.raises(InputError, match=r"\[0\]\[0\]: expected the keys \['image'\], got the keys \['img'\]"):
        signature.flatten(({"img": x},), {})


FIXED = make(X, Input("flag", value=True), Input("scale", value=2.0), Input("mask"))


def test_fixed_values_are_taken():
    assert FIXED.flatten((x, True, 2.0, None), {})[1:] == [True, 2.0, None]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((False, 2.0, None), "input flag was fixed to True when the model was captured, got False; compile again"),
        ((True, 3.0, None), "input scale was fixed to 2.0"),
        ((True, 2.0, x), "input mask was fixed to None"),
        ((True, x, None), "input scale was fixed to 2.0"),
        ((np.ones(()), 2.0, None), "input flag was fixed to True"),
    ],
)
def test_other_values_than_the_fixed_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        FIXED.flatten((x, *values), {})


DYNAMIC = make(
    Input("x", "float32", ("s0", "s1")),
    Input("y", "float32", ("s1",)),
    Input("z", "float32", ("2*s0", "s1 - 1")),
    ranges={"s0": (2, 8), "s1": (1, None)},
)


@pytest.mark.parametrize(("batch", "length"), [(2, 1), (8, 5), (3, 1000)])
def test_sizes_may_vary_in_their_range(batch, length):
    DYNAMIC.flatten((zeros(batch, length), zeros(length), zeros(2 * batch, length - 1)), {})


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((1, 4), (4,), (2, 3)), "input x has size 1 on axis 0, expected 2 to 8"),
        (((9, 4), (4,), (18, 3)), "input x has size 9 on axis 0, expected 2 to 8"),
        (((2, 0), (0,), (4, 0)), "input x has size 0 on axis 1, expected at least 1"),
        (((2, 4), (5,), (4, 3)), "input y has size 5 on axis 0, expected 4, as s1 is elsewhere"),
        (((2, 4), (4,), (5, 3)), r"input z has size 5 on axis 0, expected 4 = 2\*s0"),
        (((2, 4), (4,), (4, 4)), "input z has size 4 on axis 1, expected 3 = s1 - 1"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(shapes, message):
    with pytest.raises(InputError, match=message):
        DYNAMIC.flatten(tuple(zeros(*shape) for shape in shapes), {})


def test_a_derived_size_whose_symbol_is_nowhere_alone_is_left_to_the_program():
    signature = make(Input("x", "float32", ("2*s7",)))
    signature.flatten((zeros(3),), {})


def test_outputs_are_rebuilt_around_plain_values():
    signature = replace(
        BY_POSITION,
        outputs=(Output(1), Output(None, 5), Output(0)),
        output_structure=describe({"b": 0, "five": 0, "more": [0]}),
    )
    assert signature.outputs_by()(["first", "second"]) == {"b": "second", "five": 5, "more": ["first"]}


def test_text_names_every_input():
    assert str(FIXED) == "(x: float32[2, 3], flag: True, scale: 2.0, mask: None)"

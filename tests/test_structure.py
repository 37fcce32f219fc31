"""Nested containers as data."""

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsecomp.structure import Record, builder, describe, flatten


@dataclass
class Pair:
    left: Any
    right: Any


class Named(NamedTuple):
    first: Any
    second: Any


def _containers(inner):
    return st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.builds(Pair, inner, inner),
        st.builds(Named, inner, inner),
    )


values = st.recursive(st.integers() | st.none(), _containers, max_leaves=10)


def plain(value):
    """The value with records in place of classes."""
    if isinstance(value, Pair | Named):
        fields = vars(value) if isinstance(value, Pair) else value._asdict()
        return Record({name: plain(item) for name, item in fields.items()})
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return type(value)(map(plain, value)) if isinstance(value, list | tuple) else value


@given(values)
def test_rebuild_inverts_flatten(value):
    structure = describe(value)
    rebuilt = builder(structure)(flatten(value, structure))
    assert rebuilt == plain(value)
    assert type(rebuilt) is type(plain(value))


@given(values)
def test_a_structure_survives_json(value):
    structure = describe(value)
    assert json.loads(json.dumps(structure)) == structure


@given(values)
def test_what_was_rebuilt_flattens_the_same(value):
    structure = describe(value)
    leaves = flatten(value, structure)
    assert flatten(builder(structure)(leaves), structure) == leaves


@given(values, values)
def test_flatten_takes_as_many_leaves_as_the_structure_has_or_refuses(value, other):
    structure = describe(other)
    try:
        leaves = flatten(value, structure)
    except ValueError:
        return
    builder(structure)(leaves)
    assert len(leaves) == len(flatten(other, structure))


def test_the_order_of_the_keys_of_a_call_does_not_matter():
    structure = describe({"a": 1, "b": 2})
    assert flatten({"b": 20, "a": 10}, structure) == [10, 20]


@pytest.mark.parametrize("value", [[1, 2], (1, 2)])
def test_lists_and_tuples_stand_for_each_other(value):
    assert flatten(value, describe((0, 0))) == flatten(value, describe([0, 0])) == [1, 2]


def test_a_record_may_come_as_an_object_or_a_dictionary():
    structure = describe(Pair(0, 0))
    assert flatten(Pair(1, 2), structure) == flatten({"right": 2, "left": 1}, structure) == [1, 2]


def test_subclasses_of_dict_come_back_as_records():
    assert describe(OrderedDict(a=1)) == {"record": [["a", None]]}


def test_none_is_no_leaf_and_must_come_back_as_none():
    structure = describe(Pair(0, None))
    assert flatten(Pair(1, None), structure) == [1]
    with pytest.raises(ValueError, match=r"\['right'\]: expected None, got a int"):
        flatten(Pair(1, 2), structure)


def test_a_class_is_a_leaf():
    assert describe(Pair) is None


@pytest.mark.parametrize(
    ("expected", "value", "message"),
    [
        ((0, 0), (1,), "the inputs: expected a tuple of 2, got a tuple of 1"),
        ((0, 0), 1, "the inputs: expected a tuple of 2, got a int"),
        ({"a": 0}, {"b": 1}, r"the inputs: expected the keys \['a'\], got the keys \['b'\]"),
        ({"a": (0, 0)}, {"a": [1]}, r"\['a'\]: expected a tuple of 2, got a list of 1"),
        ([0, {"k": Pair(0, 0)}], [1, {"k": 5}], r"\[1\]\['k'\]: expected the keys \['left', 'right'\], got a int"),
    ],
)
def test_another_structure_is_refused_with_its_place(expected, value, message):
    with pytest.raises(ValueError, match=message):
        flatten(value, describe(expected))


def test_records_give_their_fields_by_attribute():
    record = Record(logits=1)
    assert record.logits == record["logits"] == 1
    with pytest.raises(AttributeError, match="no field 'loss'; there are logits"):
        _ = record.loss

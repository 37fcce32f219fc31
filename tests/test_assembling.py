"""Outputs that are put together directly are what the model's own constructors would have made."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree
from transformers.modeling_outputs import BaseModelOutput, ImageClassifierOutputWithNoAttention

from sparsecomp.assembling import assembler

A, B, C = (torch.full((2,), value) for value in (1.0, 2.0, 3.0))
Pair = namedtuple("Pair", ["first", "second"])


@dataclass
class Kept:
    """A class that keeps what it gets."""

    first: Any
    second: Any = None


@dataclass
class Derived:
    """A class that computes something of what it gets."""

    first: Any
    twice: Any = field(init=False)

    def __post_init__(self) -> None:
        self.twice = (self.first, self.first)


for kind in (Kept, Derived):
    names = [name for name, each in kind.__dataclass_fields__.items() if each.init]
    pytree.register_dataclass(kind, field_names=names, drop_field_names=[])


@pytest.mark.parametrize(
    "outputs",
    [
        A,
        (A, [B, {"c": C}]),
        {"a": A, "b": (B, C)},
        Pair(A, B),
        OrderedDict(b=A, a=B),
        Kept(A, B),
        Kept(A),
        Derived(A),
        ImageClassifierOutputWithNoAttention(logits=A),
        BaseModelOutput(last_hidden_state=A, hidden_states=(B, C)),
        (ImageClassifierOutputWithNoAttention(logits=A), B),
    ],
    ids=lambda value: type(value).__name__,
)
def test_outputs_are_what_the_models_own_classes_make(outputs: Any) -> None:
    leaves, spec = pytree.tree_flatten(outputs)
    made, expected = assembler(spec)(leaves), spec.unflatten(leaves)
    _assert_same(made, expected)


def test_an_output_of_transformers_is_used_like_its_own() -> None:
    spec = pytree.tree_structure(ImageClassifierOutputWithNoAttention(logits=A))
    assemble = assembler(spec)
    made, other = assemble([B]), assemble([C])
    assert made.logits is made["logits"] is made[0] is B
    assert made.loss is None and "loss" not in made and made.to_tuple() == (B,)
    made.loss = C
    assert made["loss"] is C and other.logits is C and other.loss is None


def _assert_same(made: Any, expected: Any) -> None:
    assert type(made) is type(expected)
    if isinstance(expected, torch.Tensor):
        assert made is expected
        return
    if isinstance(expected, dict):
        assert list(made) == list(expected)
        for key in expected:
            _assert_same(made[key], expected[key])
    elif isinstance(expected, tuple | list):
        assert len(made) == len(expected)
        for a, b in zip(made, expected, strict=True):
            _assert_same(a, b)
    if hasattr(expected, "__dict__"):
        _assert_same(dict(vars(made)), dict(vars(expected)))

"""The lattice of facts, and what is read off data."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sparsecomp.facts import AxisFacts, canonical, row_classes

SIZE = 5


@st.composite
def facts(draw: st.DrawFn) -> AxisFacts:
    constant = torch.tensor(draw(st.lists(st.booleans(), min_size=SIZE, max_size=SIZE)))
    value = torch.tensor(draw(st.lists(st.sampled_from([0.0, -0.0, 1.0, 2.5]), min_size=SIZE, max_size=SIZE)))
    labels = torch.tensor(draw(st.lists(st.integers(0, 3), min_size=SIZE, max_size=SIZE)))
    return AxisFacts.of_tensor(example(constant, value, labels), 0)


def example(constant: Tensor, value: Tensor, labels: Tensor) -> Tensor:
    """A tensor of which such things are true."""
    free = torch.rand(SIZE, 3, generator=torch.Generator().manual_seed(1))[labels]
    return torch.where(constant[:, None], value[:, None], free)


def same(one: AxisFacts, other: AxisFacts) -> bool:
    return one.implies(other) and other.implies(one)


@given(facts())
def test_meet_is_idempotent(a: AxisFacts) -> None:
    assert same(a.meet(a), a)


@given(facts(), facts())
def test_meet_is_commutative_and_implied_by_both(a: AxisFacts, b: AxisFacts) -> None:
    assert same(a.meet(b), b.meet(a))
    assert a.implies(a.meet(b))
    assert b.implies(a.meet(b))


@given(facts(), facts(), facts())
def test_meet_is_associative(a: AxisFacts, b: AxisFacts, c: AxisFacts) -> None:
    assert same(a.meet(b).meet(c), a.meet(b.meet(c)))


@given(facts(), facts(), facts())
def test_meet_is_the_greatest_of_what_both_imply(a: AxisFacts, b: AxisFacts, c: AxisFacts) -> None:
    if a.implies(c) and b.implies(c):
        assert a.meet(b).implies(c)


@given(facts(), facts(), facts())
def test_implication_is_an_order(a: AxisFacts, b: AxisFacts, c: AxisFacts) -> None:
    assert a.implies(a)
    if a.implies(b) and b.implies(c):
        assert a.implies(c)
    assert a.implies(AxisFacts.unknown(SIZE, torch.float32))


@given(facts())
def test_facts_are_canonical(a: AxisFacts) -> None:
    again = AxisFacts.of(a.constant, a.value, a.classes)
    assert torch.equal(again.constant, a.constant)
    assert torch.equal(again.value, a.value)
    assert torch.equal(again.classes, a.classes)
    assert bool((a.classes <= torch.arange(SIZE)).all())
    assert torch.equal(a.classes[a.classes], a.classes)


@given(facts(), st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=7))
def test_taking_slices_keeps_what_is_true_of_them(a: AxisFacts, picked: list[int]) -> None:
    index = torch.tensor(picked)
    taken = a.take(index)
    assert torch.equal(taken.constant, a.constant[index])
    assert torch.equal(taken.classes[:, None] == taken.classes, a.classes[index][:, None] == a.classes[index])


@settings(max_examples=50)
@given(st.integers(0, 2**31), st.sampled_from([1, 3, 40]), st.sampled_from([torch.float32, torch.float16, torch.int64]))
def test_all_that_is_true_of_a_tensor_is_found(seed: int, width: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(0, 2, (8, width), generator=generator).to(dtype)
    rows[3], rows[5] = rows[1], 1
    found = AxisFacts.of_tensor(rows, 0)
    assert torch.equal(found.constant, (rows == rows[:, :1]).all(dim=1))
    equal = (rows[:, None] == rows[None]).all(dim=2)
    assert torch.equal(found.classes, equal.int().argmax(dim=1))


def test_zeros_of_both_signs_are_one_constant() -> None:
    found = AxisFacts.of_tensor(torch.tensor([[0.0, -0.0], [-0.0, -0.0]]), 0)
    assert bool(found.zero.all())
    assert not bool(found.value.signbit().any())
    assert found.classes.tolist() == [0, 0]


def test_nan_is_no_constant_and_equals_nothing() -> None:
    found = AxisFacts.of_tensor(torch.full((3, 2), float("nan")), 0)
    assert not found.says_something()


def test_infinity_is_a_constant() -> None:
    found = AxisFacts.of_tensor(torch.full((2, 2), float("-inf")), 1)
    assert found.uniform() == float("-inf")


def test_one_differing_element_far_inside_is_seen() -> None:
    rows = torch.zeros(4, 1000)
    rows[2, 900] = 1.0
    assert AxisFacts.of_tensor(rows, 0).constant.tolist() == [True, True, False, True]
    assert row_classes(rows).tolist() == [0, 0, 2, 0]


def test_a_slice_equal_to_a_constant_slice_is_that_constant() -> None:
    found = AxisFacts.of(torch.tensor([True, False]), torch.tensor([2.0, 0.0]), torch.tensor([7, 7]))
    assert found.constant.tolist() == [True, True]
    assert found.value.tolist() == [2.0, 2.0]


def test_canonical_takes_rows_as_labels() -> None:
    assert canonical(torch.tensor([[1, 2], [1, 3], [1, 2], [0, 2]])).tolist() == [0, 1, 0, 3]

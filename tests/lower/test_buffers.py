"""Buffers that are needed at the same time have places of their own."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from sparsecomp.lower.buffers import Buffer, arrange
from sparsecomp.memory_plan import ALIGNMENT

buffers = st.builds(
    lambda lines, first, calls: Buffer(lines * ALIGNMENT, first, first + calls),
    st.integers(0, 40),
    st.integers(0, 30),
    st.integers(0, 10),
)


@given(st.lists(buffers, max_size=40))
def test_what_is_needed_together_is_apart(found: list[Buffer]) -> None:
    starts, size = arrange(found)
    placed = sorted(zip(starts, found, strict=True), key=lambda each: each[0])
    for (start, one), (after, other) in combinations(placed, 2):
        if one.first <= other.last and other.first <= one.last and other.size:
            assert start + one.size <= after
    assert all(start % ALIGNMENT == 0 and start + each.size <= size for start, each in zip(starts, found, strict=True))


def test_memory_is_used_again() -> None:
    line = [Buffer(1024, call, call + 1) for call in range(100)]
    assert arrange(line)[1] <= 2 * 1024 + ALIGNMENT


def test_equal_buffers_are_in_cache_sets_of_their_own() -> None:
    starts, _ = arrange([Buffer(4096, 0, 0) for _ in range(8)])
    assert len({start % 4096 for start in starts}) == 8

"""Panels hold every matrix exactly, in the order they promise."""

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsecomp.formats.panels import Panels


@st.composite
def matrices(draw: st.DrawFn) -> npt.NDArray[np.float32]:
    rows, columns = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    density = draw(st.sampled_from([0.0, 0.05, 0.3, 1.0]))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    keep = rng.random((rows, columns)) < density
    return (rng.standard_normal((rows, columns)) * keep).astype(np.float32)


forms = st.builds(
    Panels,
    rows=st.sampled_from([1, 2, 4, 6, 8]),
    depth=st.integers(1, 50),
    sparse=st.booleans(),
    parts=st.integers(1, 5),
    slice=st.integers(1, 4),
)


@settings(max_examples=100, deadline=None)
@given(matrices(), forms)
def test_unpack_inverts_pack(weight: npt.NDArray[np.float32], form: Panels) -> None:
    assert np.array_equal(form.unpack(form.pack(weight)), weight)


@settings(max_examples=50, deadline=None)
@given(matrices(), forms)
def test_arrays_keep_their_promises(weight: npt.NDArray[np.float32], form: Panels) -> None:
    packed = form.pack(weight)
    slices, blocks = -(-weight.shape[0] // (form.rows * form.slice)), -(-weight.shape[1] // form.depth)
    assert packed.values.shape == (*packed.columns.shape, form.rows) and packed.columns.shape[1] == form.slice
    assert len(packed.starts) == slices * blocks + 1 and packed.starts[-1] == len(packed.columns)
    assert packed.bounds[0] == 0 and packed.bounds[-1] == slices and (np.diff(packed.bounds) >= 0).all()
    for block in packed.order.reshape(blocks, -1):
        for first, last in zip(packed.bounds[:-1] * form.slice, packed.bounds[1:] * form.slice, strict=True):
            assert sorted(block[first:last]) == list(range(first, last))
    assert form.nbytes(weight) == packed.values.nbytes + (2 * packed.columns.size if form.sparse else 0)


def test_sparse_stores_only_columns_with_a_nonzero() -> None:
    weight = np.zeros((4, 8), np.float32)
    weight[1, 3] = weight[2, 3] = 5.0
    weight[0, 6] = 1.0
    packed = Panels(rows=2, depth=4, sparse=True).pack(weight)
    assert packed.columns.ravel().tolist() == [3, 3, 2]
    assert packed.values[:, 0].tolist() == [[0.0, 5.0], [5.0, 0.0], [1.0, 0.0]]


def test_long_panels_come_first_within_a_part() -> None:
    weight = np.tril(np.ones((8, 8), np.float32))
    packed = Panels(rows=1, depth=8, parts=2).pack(weight)
    counts = np.diff(packed.starts)
    for first, last in zip(packed.bounds[:-1], packed.bounds[1:], strict=True):
        assert (np.diff(counts[first:last]) <= 0).all()


def test_parts_have_about_equal_load() -> None:
    rng = np.random.default_rng(0)
    weight = (rng.random((256, 128)) < np.linspace(0.02, 0.8, 256)[:, None]).astype(np.float32)
    packed = Panels(rows=1, depth=128, parts=4).pack(weight)
    loads = [(weight[a:b] != 0).sum() for a, b in zip(packed.bounds[:-1], packed.bounds[1:], strict=True)]
    assert max(loads) < 1.1 * np.mean(loads)


def test_a_slice_is_filled_up_to_its_longest_panel() -> None:
    weight = np.array([[1, 2, 0], [0, 0, 3], [4, 5, 6]], np.float32)
    packed = Panels(rows=1, depth=3, slice=2).pack(weight)
    assert packed.order.tolist() == [[2, 0], [1, 3]]
    assert packed.values[:, :, 0].tolist() == [[4, 1], [5, 2], [6, 0], [3, 0]]
    assert packed.starts.tolist() == [0, 3, 4]

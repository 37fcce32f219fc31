import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsecomp.kernels.cook_toom import TAPS, transforms
from sparsecomp.kernels.cost_dense import winograd_shares
from sparsecomp.kernels.geometry import may_divide, suits_winograd
from sparsecomp.kernels.problem import ConvProblem, Epilogue
from sparsecomp.kernels.schedule import ColumnSchedule, WinogradSchedule, WinogradTileSchedule
from sparsecomp.kernels.space import space
from sparsecomp.targets.base import Target
from tests.kernels.reference import AVX2, AVX512, compute, expect, host, operands, relative_error

HOST = host()
KINDS = (WinogradSchedule, WinogradTileSchedule)
PROBLEMS = [
    ConvProblem(1, 12, 40, 14, 14, (3, 3), padding=(1, 1, 1, 1), epilogue=Epilogue(bias=True, residual=True)),
    ConvProblem(2, 5, 21, 9, 11, (3, 3), padding=(1, 0, 2, 1), epilogue=Epilogue(bias=True, activation="gelu")),
    ConvProblem(3, 33, 7, 4, 37, (3, 3), epilogue=Epilogue(residual=True, activation="relu", residual_last=True)),
    ConvProblem(None, 17, 16, 8, 5, (3, 3), padding=(2, 2, 2, 2)),
]


@pytest.mark.parametrize("outputs", [2, 4])
def test_the_matrices_compute_a_convolution(outputs: int) -> None:
    rng, matrices = np.random.default_rng(0), transforms(outputs)
    signal, taps = rng.standard_normal(outputs + TAPS - 1), rng.standard_normal(TAPS)
    y = matrices.outputs @ ((matrices.weights @ taps) * (matrices.inputs @ signal))
    np.testing.assert_allclose(y, np.correlate(signal, taps, "valid"), rtol=1e-12)


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
@pytest.mark.parametrize(("outputs", "tiles", "vectors", "rows"), [(2, 3, 2, 1), (4, 5, 1, 2), (4, 2, 3, 5)])
def test_it_convolves(problem: ConvProblem, outputs: int, tiles: int, vectors: int, rows: int) -> None:
    """Chunks that end beyond the last image, last tiles beyond its border, channels that fill no vector."""
    _check(problem, WinogradSchedule(outputs, tiles, vectors, rows, HOST.lanes, 2))


@pytest.mark.parametrize(("rows", "tiles", "workers"), [(1, 2, 2), (3, 4, 2), (2, 3, 2), (5, 4, 3)])
@pytest.mark.parametrize("batch", [1, 3, None])
def test_workers_divide_tiles(rows: int, tiles: int, workers: int, batch: int | None) -> None:
    """Where each begins and ends within a row of tiles, in the last chunk too, and where all panels are his.

    Each has a vector of pixels or more, so that the image is as wide as vectors are.
    """
    width, tiles = 23 * HOST.lanes // 8, max(1, tiles * HOST.lanes // 8)
    problem = ConvProblem(batch, 13, 21, 21, width, (3, 3), padding=(1, 1, 1, 1), epilogue=Epilogue(bias=True))
    schedule = WinogradSchedule(4, tiles, 2, rows, HOST.lanes, workers, divided=True)
    assert may_divide(problem, schedule)
    _check(problem, schedule)


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
@pytest.mark.parametrize(
    ("outputs", "panel", "vectors", "group", "rows"),
    [(2, 3, 1, 2, 1), (4, 5, 2, 1, 2), (4, 2, 1, 3, 5), (4, 1, 3, 1, 3)],
)
def test_it_convolves_by_tiles(
    problem: ConvProblem, outputs: int, panel: int, vectors: int, group: int, rows: int
) -> None:
    """Rows of tiles that share vectors, vectors beyond the last tile, groups and panels that are not full."""
    _check(problem, WinogradTileSchedule(outputs, panel, vectors, group, rows, HOST.lanes, 2))


@pytest.mark.parametrize(
    "schedule", [WinogradSchedule(4, 3, 2, 2, AVX2.lanes, 2), WinogradTileSchedule(4, 4, 2, 2, 2, AVX2.lanes, 2)]
)
def test_it_convolves_with_narrow_vectors(schedule: WinogradSchedule | WinogradTileSchedule) -> None:
    problem = PROBLEMS[1]
    weight, inputs = operands(problem, 1.0, 0)
    assert relative_error(compute(problem, schedule, AVX2, weight, inputs), expect(problem, weight, inputs)) < 1e-5


@given(chunks=st.integers(1, 40), parts=st.lists(st.integers(1, 5), min_size=1, max_size=20), workers=st.integers(1, 8))
def test_the_model_counts_what_the_longest_worker_does(chunks: int, parts: list[int], workers: int) -> None:
    """As the kernel divides the chunks and, in those that workers share, the parts."""
    done = np.zeros((chunks, len(parts)), int)
    most_chunks, most = 0, 0.0
    for worker in range(workers):
        begin, end = worker * chunks, (worker + 1) * chunks  # in shares of chunks, one for each worker
        for chunk in range(begin // workers, -(-end // workers)):
            first, last = max(begin - chunk * workers, 0), min(end - chunk * workers, workers)
            done[chunk, first * len(parts) // workers : last * len(parts) // workers] += worker + 1
    assert (done > 0).all()
    for worker in range(workers):
        most = max(most, float(((done == worker + 1) * parts).sum()))
        most_chunks = max(most_chunks, -(-(worker + 1) * chunks // workers) - worker * chunks // workers)
    assert winograd_shares(chunks, parts, workers) == (most_chunks, pytest.approx(most / sum(parts)))


@pytest.mark.slow
@given(
    channels=st.tuples(st.integers(1, 300), st.integers(1, 70)),
    image=st.tuples(st.integers(2, 20), st.integers(2, 40)),
    padding=st.tuples(*[st.integers(1, 2)] * 4),
    seed=st.integers(0, 10**6),
)
def test_any_shape(
    channels: tuple[int, int], image: tuple[int, int], padding: tuple[int, int, int, int], seed: int
) -> None:
    problem = ConvProblem(seed % 3 + 1, *channels, *image, (3, 3), padding=padding, epilogue=Epilogue(bias=True))
    for kind in KINDS:
        found = [schedule for schedule in space(problem, 1.0, HOST) if isinstance(schedule, kind)]
        _check(problem, random.Random(seed).choice(found), seed)


@pytest.mark.parametrize(
    "change",
    [{"kernel": (3, 1)}, {"kernel": (5, 5)}, {"stride": (2, 2)}, {"dilation": (1, 2)}, {"groups": 2}],
    ids=str,
)
def test_other_convolutions_have_no_such_schedule(change: dict[str, Any]) -> None:
    plain = ConvProblem(1, 8, 8, 9, 9, (3, 3), padding=(1, 1, 1, 1))
    assert suits_winograd(plain)
    problem = replace(plain, **change)
    assert not suits_winograd(problem)
    assert not any(isinstance(schedule, KINDS) for schedule in space(problem, 1.0, HOST))


@pytest.mark.parametrize(("channels", "units", "lanes"), [(19, 1, {8, 16}), (19, 2, {16}), (64, 1, {16})])
def test_channels_that_leave_lanes_empty_may_take_narrower_vectors(channels: int, units: int, lanes: set[int]) -> None:
    """Where a core starts twice as many of those."""
    problem = ConvProblem(1, channels, channels, 32, 32, (3, 3), padding=(1, 1, 1, 1))
    found = space(problem, 1.0, replace(AVX512, fma_units=units))
    assert {
        schedule.lanes for schedule in found if not isinstance(schedule, ColumnSchedule | WinogradTileSchedule)
    } == lanes


@pytest.mark.parametrize("target", [AVX2, AVX512], ids=lambda target: target.name)
def test_few_channels_in_a_large_image_are_computed_by_tiles(target: Target) -> None:
    """Vectors of channels would be half empty; 64 channels fill them."""
    few, many = (ConvProblem(1, n, n, 256, 256, (3, 3), padding=(1, 1, 1, 1)) for n in (19, 64))
    assert isinstance(space(few, 1.0, target)[0], WinogradTileSchedule)
    assert isinstance(space(many, 1.0, target)[0], WinogradSchedule)


@pytest.mark.parametrize(("channels", "size"), [(19, 56), (38, 48), (38, 96)])
def test_the_transforms_of_a_chunk_stay_in_the_l2_cache(channels: int, size: int) -> None:
    problem = ConvProblem(1, channels, channels, size, size, (3, 3), padding=(1, 1, 1, 1))
    best = space(problem, 1.0, AVX2)[0]
    assert isinstance(best, KINDS)
    tiles = best.rows * -(-size // best.outputs)
    assert 4 * (best.outputs + 2) ** 2 * tiles * channels < AVX2.l2_bytes / 2


def test_the_model_prefers_it_for_dense_weights_only() -> None:
    problem = ConvProblem(1, 64, 64, 56, 56, (3, 3), padding=(1, 1, 1, 1))
    assert isinstance(space(problem, 1.0, HOST)[0], KINDS)
    sparse = space(problem, 0.05, HOST)[0]
    assert isinstance(sparse, ColumnSchedule) and sparse.sparse


def _check(problem: ConvProblem, schedule: WinogradSchedule | WinogradTileSchedule, seed: int = 0) -> None:
    weight, inputs = operands(problem, 1.0, seed, size=3)
    got = compute(problem, schedule, HOST, weight, inputs)
    assert relative_error(got, expect(problem, weight, inputs)) < 1e-5

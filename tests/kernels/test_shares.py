"""The division of the work among threads."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sparsecomp.kernels.problem import ConvProblem, LinearProblem, Problem
from sparsecomp.kernels.schedule import ColumnSchedule
from sparsecomp.kernels.shares import divide


def _schedule(vectors: int, workers: int, span: int = 1, cuts: int = 1) -> ColumnSchedule:
    return ColumnSchedule(1, vectors, 64, span, True, False, 16, workers, cuts=cuts)


def _problems() -> st.SearchStrategy[Problem]:
    sizes = st.integers(1, 500)
    linear = st.builds(LinearProblem, sizes, st.just(64), st.just(96))
    image = st.builds(
        lambda batch, side: ConvProblem(batch, 64, 96, side, side, (1, 1)), st.integers(1, 3), st.integers(1, 40)
    )
    return linear | image


@given(
    _problems(),
    st.builds(_schedule, st.integers(1, 8), st.integers(1, 9), st.sampled_from((1, 2, 4)), st.integers(1, 3)),
)
def test_every_unit_is_in_one_share(problem: Problem, schedule: ColumnSchedule) -> None:
    shares = divide(problem, schedule)
    assert shares.parts % (schedule.workers * schedule.cuts) == 0
    if schedule.workers == 1:
        assert shares.limits == (), "all units are one share"
        return
    assert len(shares.limits) == schedule.workers + 1
    assert shares.limits[0] == 0
    assert list(shares.limits) == sorted(shares.limits)
    assert shares.limits[-1] % shares.parts == 0
    assert shares.uneven >= 1 - 1e-9


def test_thirteen_vectors_in_four_tiles_fall_evenly_on_two_threads() -> None:
    """Dealt out by tiles, one thread would have 8 and the other 5."""
    shares = divide(LinearProblem(197, 768, 768), _schedule(4, 2))
    assert shares.uneven < 1.04, "both pack the second tile"
    assert shares.limits == (0, 13, 32), "in eight parts: 4 + 4 * 5 / 8 vectors and the rest"


def test_a_tile_whose_packing_outweighs_its_share_is_not_divided() -> None:
    """One thread takes 12 of 25 vectors: for half of one more it would pack a second tile."""
    strided = ConvProblem(1, 256, 256, 28, 28, (3, 3), (2, 2), (1, 1, 1, 1))
    shares = divide(strided, ColumnSchedule(1, 12, 32, 1, True, True, 8, 2))
    assert shares.limits == (0, shares.parts, 3 * shares.parts)


def test_even_tiles_are_not_cut_finer() -> None:
    assert divide(LinearProblem(128, 768, 768), _schedule(4, 2)).parts == 2


def test_an_unknown_number_of_tokens_has_no_limits() -> None:
    assert divide(LinearProblem(None, 768, 768), _schedule(4, 2)).limits == ()


@given(st.integers(1, 300), st.integers(1, 8), st.integers(2, 9))
def test_rows_apart_are_shared_by_panels(channels: int, rows: int, workers: int) -> None:
    schedule = ColumnSchedule(rows, 1, 8, 1, False, False, 16, workers, apart=True)
    shares = divide(ConvProblem(1, 8, channels, 20, 20, (1, 1)), schedule)
    assert shares.parts == shares.limits[-1] == -(-channels // rows)
    assert len(shares.limits) == workers + 1
    assert list(shares.limits) == sorted(shares.limits)
    assert max(end - begin for begin, end in pairwise(shares.limits)) <= -(-shares.parts // workers)

"""Every kernel of the family against float64, over random problems, schedules, weights and epilogues."""

import random
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparsecomp.kernels.cost import WeightStats, predict
from sparsecomp.kernels.geometry import allows_direct, widths
from sparsecomp.kernels.problem import Activation, ConvProblem, Epilogue, LinearProblem, Problem
from sparsecomp.kernels.row_panel import build, pack
from sparsecomp.kernels.schedule import (
    ChannelSchedule,
    ColumnSchedule,
    FeatureSchedule,
    Schedule,
    StripSchedule,
    is_sparse,
)
from sparsecomp.kernels.space import space
from sparsecomp.lower.machine_code import compile_kernel
from tests.kernels.reference import AVX2, AVX512, call, compute, expect, host, operands, relative_error

HOST = host()
TOLERANCE = 1e-5
ROUNDING = 1e-6  # of the residual: seen where a sum that cancels leaves less than a tenth of it
slow = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))

epilogues = st.builds(
    Epilogue,
    bias=st.booleans(),
    residual=st.booleans(),
    activation=st.sampled_from([None, "relu", "clamp", "gelu"]),
    low=st.just(-0.5),
    high=st.just(0.75),
    residual_last=st.booleans(),
)
sides = st.sampled_from([1, 2, 3, 7, 8, 13, 17, 31])


@st.composite
def linears(draw: st.DrawFn) -> LinearProblem:
    size = st.sampled_from([1, 3, 16, 31, 49, 64, 100])
    return LinearProblem(draw(size), draw(size), draw(size), draw(epilogues))


@st.composite
def convs(draw: st.DrawFn) -> ConvProblem:
    kernel = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    dilation = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    padding = tuple(draw(st.integers(0, 3)) for _ in range(4))
    least = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    return ConvProblem(
        batch=draw(st.integers(1, 3)),
        in_channels=groups * draw(st.integers(1, 9)),
        out_channels=groups * draw(st.integers(1, 18)),
        height=max(draw(sides), least[0]),
        width=max(draw(sides), least[1]),
        kernel=kernel,
        stride=(draw(st.integers(1, 4)), draw(st.integers(1, 4))),
        padding=padding,  # type: ignore[arg-type]
        dilation=dilation,
        groups=groups,
        epilogue=draw(epilogues),
    )


def check(problem: Problem, schedule: Schedule, density: float, seed: int = 0, size: int | None = None) -> None:
    weight, inputs = operands(problem, density, seed, size)
    got = compute(problem, schedule, HOST, weight, inputs)
    expected = expect(problem, weight, inputs)
    terms = np.linalg.norm(inputs.get("residual", 0.0)) / max(np.linalg.norm(expected), 1e-30)
    assert relative_error(got, expected) < max(TOLERANCE, ROUNDING * terms), (problem, schedule)


densities = st.sampled_from([0.0, 0.05, 0.3, 1.0])


@slow
@given(linears(), densities, st.integers(0, 10**6))
def test_linear(problem: LinearProblem, density: float, seed: int) -> None:
    check(problem, random.Random(seed).choice(space(problem, density, HOST)), density, seed)


@slow
@given(convs(), densities, st.integers(0, 10**6))
def test_conv(problem: ConvProblem, density: float, seed: int) -> None:
    check(problem, random.Random(seed).choice(space(problem, density, HOST)), density, seed)


@pytest.mark.parametrize("activation", get_args(Activation))
@pytest.mark.parametrize("kind", ["features", "tokens", "values", "pixels"])
def test_activation(activation: Activation, kind: str) -> None:
    epilogue = Epilogue(True, True, activation, -0.5, 0.5)
    linear = LinearProblem(20, 30, 40, epilogue)
    problem = ConvProblem(1, 4, 8, 9, 9, (3, 3), padding=(1, 1, 1, 1), epilogue=epilogue)
    cases: dict[str, tuple[Problem, Schedule]] = {
        "features": (linear, FeatureSchedule(4, 2, 30, HOST.lanes, 2)),
        "tokens": (linear, ColumnSchedule(1, 2, 16, 1, True, False, HOST.lanes, 2)),
        "values": (LinearProblem(1, 30, 40, epilogue), ColumnSchedule(1, 1, 16, 1, True, False, 1, 2, slice=4)),
        "pixels": (problem, ColumnSchedule(2, 2, 4, 1, True, False, HOST.lanes, 2)),
    }
    check(*cases[kind], density=0.5)


NETWORK_LAYERS: list[Problem] = [
    ConvProblem(1, 3, 16, 45, 45, (7, 7), (2, 2), (3, 3, 3, 3)),
    ConvProblem(1, 3, 24, 64, 64, (16, 16), (16, 16)),
    ConvProblem(1, 6, 24, 16, 16, (4, 4), (4, 4)),
    ConvProblem(2, 96, 40, 7, 7, (1, 1)),
    ConvProblem(2, 40, 24, 14, 14, (1, 1), (2, 2)),
    ConvProblem(1, 24, 40, 1, 50, (1, 3), padding=(0, 0, 1, 1)),
    ConvProblem(1, 20, 20, 1, 1, (3, 3), padding=(1, 1, 1, 1)),
    LinearProblem(197, 96, 72),
    LinearProblem(1, 300, 200),
    LinearProblem(5, 300, 1),
]


@pytest.mark.parametrize("density", [0.1, 1.0])
@pytest.mark.parametrize("problem", NETWORK_LAYERS, ids=str)
def test_first_guess_on_layers_of_networks(problem: Problem, density: float) -> None:
    check(problem, space(problem, density, HOST)[0], density)


@pytest.mark.parametrize("workers", [2, 3, 7])
@pytest.mark.parametrize(("rows", "vectors", "direct"), [(4, 1, False), (5, 2, True), (8, 3, False)])
def test_workers_have_rows_of_their_own(rows: int, vectors: int, direct: bool, workers: int) -> None:
    problem = ConvProblem(1, 7, 43, 16, 22, (1, 1), epilogue=Epilogue(True, True, "relu6"))
    schedule = ColumnSchedule(rows, vectors, 7, 1, False, False, HOST.lanes, workers, direct=direct, apart=True)
    check(problem, schedule, density=1.0)


@pytest.mark.parametrize("stride", [3, 4, 5])
def test_planes_of_evenly_spaced_taps_of_a_large_stride(stride: int) -> None:
    """Their loop makes divisions of its variable, which TVM turned into ones by a negative number, and failed on."""
    problem = ConvProblem(1, 2, 3, 2, 17, (1, 3), (1, stride), (0, 0, 1, 0), (1, 2))
    check(problem, ColumnSchedule(6, 2, 1, 1, False, True, HOST.lanes, 2), density=1.0)


@pytest.mark.parametrize("density", [0.1, 1.0])
def test_one_symbolic_kernel_serves_all_sizes_and_weights(density: float) -> None:
    """The number of tokens and the positions of the zeros are known to the call only."""
    problem = LinearProblem(None, 70, 50, Epilogue(bias=True))
    schedule = space(problem, density, HOST)[0]
    executable = compile_kernel(build(problem, schedule), HOST)
    for tokens in (1, 5, 64, 131):
        weight, inputs = operands(problem, density, tokens, tokens)
        got = call(executable, pack(weight, problem, schedule), inputs)
        assert relative_error(got, expect(problem, weight, inputs)) < TOLERANCE


@pytest.mark.parametrize(("vectors", "span"), [(1, 2), (3, 1), (4, 2), (8, 1)])
@pytest.mark.parametrize("rows", [1, 2])
def test_a_symbolic_kernel_narrows_its_last_tile(vectors: int, span: int, rows: int) -> None:
    """Every number of vectors that the last tile may have; several depth blocks and slices."""
    problem = LinearProblem(None, 70, 50, Epilogue(bias=True))
    schedule = ColumnSchedule(rows, vectors, 32, span, True, False, HOST.lanes, 2, slice=2 if rows == 1 else 1)
    executable = compile_kernel(build(problem, schedule), HOST)
    for tokens in range(1, (vectors * span + 1) * HOST.lanes, HOST.lanes - 1):
        weight, inputs = operands(problem, 0.3, tokens, tokens)
        got = call(executable, pack(weight, problem, schedule), inputs)
        assert relative_error(got, expect(problem, weight, inputs)) < TOLERANCE


@pytest.mark.parametrize("vectors", [1, 2, 5, 6, 8, 12])
def test_what_is_multiplied_beyond_the_last_token_is_little(vectors: int) -> None:
    """Vectors without tokens cost time; uncleared ones, with denormal numbers in them, a hundred times theirs."""
    schedule = ColumnSchedule(1, vectors, 32, 1, True, False, 16, 2)
    for tokens in range(1, vectors * 16 + 1):
        needed = -(-tokens // 16)
        exact = [count for count, _ in widths(tokens, schedule)]
        assert needed in exact
        assert all(n == needed for n in exact[1:])
        powers = [count for count, _ in widths(None, schedule)]
        assert min(n for n in powers if n >= needed) < 2 * needed


def test_symbolic_batch() -> None:
    problem = ConvProblem(None, 5, 20, 9, 9, (3, 3), padding=(1, 1, 1, 1), epilogue=Epilogue(residual=True))
    for schedule in (space(problem, 0.2, HOST)[0], space(problem, 1.0, HOST)[0]):
        check(problem, schedule, 0.2, size=3)


@pytest.mark.parametrize("sparse", [False, True])
def test_direct_multiplies_x_where_it_is(sparse: bool) -> None:
    problem = ConvProblem(2, 12, 10, 4, 3 * HOST.lanes, (1, 1), groups=2, epilogue=Epilogue(bias=True))
    rows = 1 if sparse else 4
    check(problem, ColumnSchedule(rows, 3, 4, 1, sparse, False, HOST.lanes, 2, direct=True), density=0.4)


TAILS = [  # channels in and out, vectors and columns behind them, rows and vectors of a panel
    (5, 20, 1, 1, 4, 1),
    (9, 43, 3, 1, 8, 3),
    (7, 29, 3, 4, 7, 1),
    (6, 11, 4, 2, 5, 3),
    (4, 22, 5, 3, 6, 2),
    (3, 33, 2, 1, 11, 1),
    (8, 16, 6, 0, 4, 4),
]


@pytest.mark.parametrize("epilogue", [Epilogue(True, True, "relu6"), Epilogue(True, True, "gelu", residual_last=True)])
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(("channels", "out", "whole", "beyond", "rows", "vectors"), TAILS)
def test_columns_behind_the_last_whole_vector(
    channels: int, out: int, whole: int, beyond: int, rows: int, vectors: int, workers: int, epilogue: Epilogue
) -> None:
    """Both halves of a batch, and rows that fill no panel."""
    pixels = whole * HOST.lanes + beyond
    problem = ConvProblem(2, channels, out, 1, pixels, (1, 1), epilogue=epilogue)
    schedule = ColumnSchedule(rows, vectors, channels, 1, False, False, HOST.lanes, workers, direct=True)
    assert widths(pixels, schedule)[-1] == ((whole - 1) % vectors + 1, beyond)
    check(problem, schedule, density=1.0)


@pytest.mark.parametrize("change", [{"groups": 3}, {"batch": 1, "groups": 1}, {"batch": None, "groups": 1}])
def test_tails_of_groups_and_of_rows_apart(change: dict[str, Any]) -> None:
    problem = replace(ConvProblem(2, 12, 39, 1, 3 * HOST.lanes + 1, (1, 1), epilogue=Epilogue(bias=True)), **change)
    apart = problem.batch == 1
    depth = 12 // problem.groups
    schedule = ColumnSchedule(5, 2, depth, 1, False, False, HOST.lanes, 2, direct=True, apart=apart)
    weight, inputs = operands(problem, 1.0, 0, 2)
    got = compute(problem, schedule, HOST, weight, inputs)
    assert relative_error(got, expect(problem, weight, inputs)) < TOLERANCE


@pytest.mark.parametrize(
    ("change", "direct"),
    [
        ({}, True),
        ({"sparse": True}, False),
        ({"depth": 24}, False),
        ({"rows": 6}, False),
        ({"height": 14}, False),
        ({"height": 9, "width": 11, "rows": 4}, True),
        ({"height": 7, "width": 11}, False),
        ({"height": 1, "width": 5}, False),
    ],
    ids=str,
)
def test_which_tails_are_multiplied_where_they_are(change: dict[str, Any], direct: bool) -> None:
    """Of few columns, whose sums fit the registers beside the others, and are complete after one block."""
    sizes = {key: change[key] for key in ("height", "width") if key in change}
    problem = replace(ConvProblem(1, 48, 30, 7, 7, (1, 1)), **sizes)
    schedule = ColumnSchedule(5, 2, 48, 1, False, False, 8, 2)
    changed = replace(schedule, **{key: value for key, value in change.items() if key not in sizes})
    assert allows_direct(problem, changed, AVX2) == direct


@pytest.mark.parametrize(
    ("channels", "size", "direct"), [(4, 64, True), (5, 112, True), (64, 64, False), (64, 56, True)]
)
def test_few_channels_of_the_same_cache_sets_are_multiplied_where_they_are(
    channels: int, size: int, direct: bool
) -> None:
    """Planes of 64x64 begin in one set, those of 112x112 in four, and those of 56x56 in many."""
    found = space(ConvProblem(1, channels, 8, size, size, (1, 1)), 1.0, AVX2)
    assert any(s.direct for s in found if isinstance(s, ColumnSchedule)) == direct


CHANNEL_PROBLEMS = [
    ConvProblem(2, 5, 40, 9, 11, (3, 3), padding=(1, 1, 1, 1), epilogue=Epilogue(bias=True, residual=True)),
    ConvProblem(1, 6, 21, 13, 10, (3, 2), (2, 3), (2, 0, 1, 3), (1, 2), epilogue=Epilogue(activation="gelu")),
    ConvProblem(1, 8, 36, 7, 7, (1, 1), (2, 2), groups=2, epilogue=Epilogue(bias=True, activation="relu")),
    ConvProblem(1, 30, 7, 1, 29, (1, 3), padding=(0, 0, 1, 1), dilation=(1, 1)),
    ConvProblem(1, 3, 1, 1, 1, (1, 1)),
]


@pytest.mark.parametrize("problem", CHANNEL_PROBLEMS, ids=str)
@pytest.mark.parametrize(("pixels", "vectors", "depth", "chunk"), [(4, 2, 100, 3), (7, 1, 2, 100), (3, 3, 3, 1)])
def test_tiles_of_pixels_times_panels_of_channels(
    problem: ConvProblem, pixels: int, vectors: int, depth: int, chunk: int
) -> None:
    channels = problem.in_channels // problem.groups
    schedule = ChannelSchedule(pixels, vectors, min(depth, channels), min(chunk, problem.out_height), HOST.lanes, 2)
    check(problem, schedule, density=1.0)


@pytest.mark.parametrize("tokens", [1, 2])
@pytest.mark.parametrize("slice", [1, 4, 8])
def test_few_tokens_by_single_values(tokens: int, slice: int) -> None:
    problem = LinearProblem(tokens, 70, 45, epilogue=Epilogue(bias=True, residual=True, activation="relu"))
    check(problem, ColumnSchedule(1, tokens, 32, 1, True, False, 1, 2, slice=slice), density=0.3)


@pytest.mark.parametrize(
    ("slice", "depth", "dtype"),
    [(1, 32, "uint16"), (2, 32, "int32"), (3, 32, "uint16"), (4, 32, "int64"), (4, 5000, "int32")],
)
def test_offsets_of_a_slice_are_one_number_where_they_fit(slice: int, depth: int, dtype: str) -> None:
    problem = LinearProblem(2 * HOST.lanes, depth, 9)
    schedule = ColumnSchedule(1, 2, depth, 1, True, False, HOST.lanes, 1, slice=slice)
    offsets = pack(np.ones((9, depth), np.float32), problem, schedule)[2]
    assert (str(offsets.dtype), offsets.nbytes) == (dtype, -(-9 // slice) * slice * depth * (4 if depth == 5000 else 2))
    check(problem, schedule, density=0.3)


@pytest.mark.parametrize("slice", [2, 3, 4])
@pytest.mark.parametrize("rows", [1, 2])
def test_slices(slice: int, rows: int) -> None:
    lanes = HOST.lanes
    linear = LinearProblem(19, 70, 45, epilogue=Epilogue(bias=True, residual=True))
    check(linear, ColumnSchedule(rows, 2, 32, 1, True, False, lanes, 2, slice=slice), density=0.2)
    conv = ConvProblem(1, 13, 21, 9, 7, (3, 3), padding=(1, 1, 1, 1), epilogue=Epilogue(bias=True, activation="gelu"))
    for expand in (False, True):
        check(conv, ColumnSchedule(rows, 2, 5, 1, True, expand, lanes, 2, slice=slice), density=0.2)


@pytest.mark.parametrize("cuts", [2, 3, 7])
@pytest.mark.parametrize(
    "change", [{}, {"rows": 2, "clustered": True}, {"rows": 4, "sparse": False}, {"slice": 3}, {"span": 2}], ids=str
)
@pytest.mark.parametrize("tokens", [19, 3, None])
def test_rows_in_cuts(tokens: int | None, change: dict[str, Any], cuts: int) -> None:
    problem = LinearProblem(tokens, 70, 85, epilogue=Epilogue(bias=True, residual=True, activation="relu"))
    schedule = ColumnSchedule(1, 2, 32, 1, True, False, HOST.lanes, 2, cuts=cuts)
    check(problem, replace(schedule, **change), density=0.3, size=19 if tokens is None else None)


def _tiled(rows: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    """``[tokens, features]`` as ``[tiles, features, size]``, NaN where there is no token."""
    padded = np.pad(rows, ((0, -len(rows) % size), (0, 0)), constant_values=np.nan)
    return np.ascontiguousarray(padded.reshape(-1, size, rows.shape[1]).transpose(0, 2, 1))


@pytest.mark.parametrize(
    "change",
    [{}, {"rows": 2, "clustered": True}, {"rows": 4, "sparse": False}, {"slice": 4}, {"span": 2}, {"cuts": 3}],
    ids=str,
)
@pytest.mark.parametrize(
    ("tokens", "depth", "activation"),
    [
        *((19, depth, activation) for depth in (32, 70) for activation in (None, "gelu")),
        *((n, *pair) for n in (3, 2 * HOST.lanes, 131) for pair in ((32, "gelu"), (70, None))),
    ],
)
def test_tiles_are_taken_and_handed_on(
    tokens: int, depth: int, activation: Activation | None, change: dict[str, Any]
) -> None:
    plain = LinearProblem(tokens, 70, 85, epilogue=Epilogue(bias=True, residual=True, activation=activation))
    schedule = replace(ColumnSchedule(1, 2, depth, 1, True, False, HOST.lanes, 2), **change)
    size = schedule.span * schedule.vectors * schedule.lanes
    weight, inputs = operands(plain, 0.3, tokens)
    expected = expect(plain, weight, inputs)
    for x_tile, y_tile in ((size, 0), (0, size), (size, size)):
        given = dict(inputs)
        for name, tile in (("x", x_tile), ("y", y_tile), ("residual", y_tile)):
            given[name] = _tiled(inputs[name], size) if tile else inputs[name]
        got = compute(replace(plain, x_tile=x_tile, y_tile=y_tile), schedule, HOST, weight, given)
        if y_tile:
            got = got.transpose(0, 2, 1).reshape(-1, 85)[:tokens]
        assert relative_error(got, expected) < TOLERANCE, (x_tile, y_tile)


def test_tiles_spare_transposes() -> None:
    plain = LinearProblem(128, 768, 768)
    stats, schedule = WeightStats.unstructured(0.1), space(plain, 0.1, AVX2)[0]
    times = [predict(replace(plain, **tiles), stats, schedule, AVX2) for tiles in ({}, {"x_tile": 1}, {"y_tile": 1})]
    assert times[0] > times[1] and times[0] > times[2]


def test_cuts_are_for_sums_that_leave_the_cache() -> None:
    wide, narrow = (space(LinearProblem(128, 768, rows), 0.1, AVX2) for rows in (3072, 768))
    assert any(isinstance(s, ColumnSchedule) and s.cuts > 1 for s in wide)
    assert not any(isinstance(s, ColumnSchedule) and s.cuts > 1 for s in narrow)


@pytest.mark.parametrize("rows", [2, 4])
def test_panels_of_similar_rows_store_each_row_where_it_belongs(rows: int) -> None:
    linear = LinearProblem(19, 70, 45, epilogue=Epilogue(bias=True, residual=True))
    check(linear, ColumnSchedule(rows, 2, 32, 1, True, False, HOST.lanes, 2, clustered=True), density=0.2)
    conv = ConvProblem(1, 26, 42, 9, 7, (3, 3), padding=(1, 1, 1, 1), groups=2, epilogue=Epilogue(activation="gelu"))
    for expand in (False, True):
        check(conv, ColumnSchedule(rows, 2, 5, 1, True, expand, HOST.lanes, 2, clustered=True), density=0.2)


def test_blocks_that_a_permutation_hides_are_found() -> None:
    rng = np.random.default_rng(0)
    weight = np.repeat(rng.random((64, 300)) < 0.1, 4, axis=0)[rng.permutation(256)]
    stats = WeightStats.of(weight)
    assert stats.clustered and stats.clustered[2] < 0.11 < stats.stored[2]
    best = space(LinearProblem(128, 300, 256), stats, HOST)[0]
    assert isinstance(best, ColumnSchedule) and best.rows == 4 and best.clustered


def test_clustering_is_not_considered_where_rows_have_nothing_in_common() -> None:
    weight = np.random.default_rng(0).random((256, 300)) < 0.1
    assert WeightStats.of(weight).clustered == ()


def test_rows_of_very_different_length() -> None:
    problem = LinearProblem(40, 90, 50)
    weight, inputs = operands(problem, 1.0, 0)
    weight[np.arange(50) % 7 > 0] = 0
    weight[3, 4] = 1.0
    schedule = next(s for s in space(problem, 0.1, HOST) if isinstance(s, ColumnSchedule) and s.sparse and s.rows == 1)
    got = compute(problem, schedule, HOST, weight, inputs)
    assert relative_error(got, expect(problem, weight, inputs)) < TOLERANCE


def test_avx2_code_runs_on_wider_machines() -> None:
    problem = ConvProblem(1, 12, 20, 10, 10, (3, 3), padding=(1, 1, 1, 1), epilogue=Epilogue(activation="gelu"))
    for density in (0.2, 1.0):
        weight, inputs = operands(problem, density, 0)
        got = compute(problem, space(problem, density, AVX2)[0], AVX2, weight, inputs)
        assert relative_error(got, expect(problem, weight, inputs)) < TOLERANCE


def test_dense_is_always_a_candidate() -> None:
    for problem in NETWORK_LAYERS:
        found = space(problem, 0.05, HOST)
        assert any(isinstance(s, FeatureSchedule) or not getattr(s, "sparse", False) for s in found)


def test_the_model_prefers_sparse_for_sparse_and_dense_for_dense() -> None:
    problem = LinearProblem(128, 768, 768)
    assert isinstance(space(problem, 1.0, HOST)[0], FeatureSchedule)
    first = space(problem, 0.1, HOST)[0]
    assert isinstance(first, ColumnSchedule) and first.sparse


def test_a_call_of_a_microsecond_skips_zeros_only_where_it_surely_gains() -> None:
    pixel = ConvProblem(1, 31, 64, 1, 1, (3, 3), padding=(1, 1, 1, 1))
    target = replace(AVX2, cores=2, flops=8e10, bytes_per_s=(15e10, 6e10, 3e10, 1e10), l3_bytes=1 << 25)
    sparse = [is_sparse(space(pixel, density, target)[0]) for density in (0.1, 0.2)]
    assert sparse == [True, False]  # at 0.2 both take 1.3 us (Zen 3)


def test_statistics_of_blocks() -> None:
    blocks = np.zeros((16, 10), np.float32)
    blocks[4:8, 3] = 1.0
    assert WeightStats.of(blocks).stored == pytest.approx((0.025, 0.025, 0.025, 0.05))


def test_registers_hold_the_sums_of_every_schedule() -> None:
    for problem in NETWORK_LAYERS:
        for schedule in space(problem, 0.5, replace(AVX2, cores=3)):
            assert _sums(schedule) * schedule.vectors < AVX2.vector_registers


def _sums(schedule: Schedule) -> int:
    match schedule:
        case FeatureSchedule():
            return schedule.tokens
        case ChannelSchedule():
            return schedule.pixels
        case StripSchedule():
            return schedule.rows
        case _:
            return schedule.rows * schedule.slice


@pytest.mark.parametrize("activation", ["sigmoid", "silu", "tanh"])
def test_activations_are_exact_at_every_value(activation: Activation) -> None:
    """Small results too: a sigmoid of -80 is a probability that somebody takes the logarithm of."""
    problem = LinearProblem(4001, 1, 8, Epilogue(activation=activation))
    weight, inputs = operands(problem, 1.0, 0)
    weight[:] = 1.0
    inputs["x"] = np.linspace(-80, 80, 4001, dtype=np.float32)[:, None]
    got = compute(problem, space(problem, 1.0, HOST)[0], HOST, weight, inputs)
    np.testing.assert_allclose(got, expect(problem, weight, inputs), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("units", "vectors"), [(1, {1}), (2, {2, 3, 4, 5})])
def test_with_one_fma_a_cycle_panels_are_a_single_vector_wide(units: int, vectors: set[int]) -> None:
    target = replace(AVX512, fma_units=units)
    for problem in (ConvProblem(1, 5, 29, 112, 112, (1, 1)), ConvProblem(1, 16, 96, 112, 112, (1, 1))):
        best = space(problem, 1.0, target)[0]
        assert isinstance(best, ColumnSchedule)
        assert best.vectors in vectors

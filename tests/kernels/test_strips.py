"""The convolution kernel that packs nothing, against float64; and where it is chosen."""

from dataclasses import replace

import numpy as np
import pytest

from sparsecomp.kernels.problem import ConvProblem, Epilogue
from sparsecomp.kernels.row_panel import build, pack
from sparsecomp.kernels.schedule import StripSchedule
from sparsecomp.kernels.space import space
from sparsecomp.lower.machine_code import compile_kernel
from sparsecomp.targets.base import Target
from tests.kernels.reference import AVX2, AVX512, call, compute, expect, host, operands, relative_error

HOST = host()
WIDE = 3 * HOST.lanes + 5  # whole strips, and one that begins early
STEM = ConvProblem(1, 3, 10, 224, 224, (3, 3), (2, 2), (1, 1, 1, 1))
PROBLEMS = {
    "same": ConvProblem(2, 5, 13, 6, WIDE, (3, 3), padding=(1, 1, 1, 1)),
    "no padding": ConvProblem(1, 3, 8, 7, WIDE, (3, 3), epilogue=Epilogue(bias=True, activation="relu")),
    "stride 2": ConvProblem(1, 3, 10, 9, 2 * WIDE, (3, 3), (2, 2), (1, 1, 1, 1), epilogue=Epilogue(bias=True)),
    "stride 2, odd width": ConvProblem(1, 3, 7, 8, 2 * WIDE + 1, (3, 3), (2, 2), (1, 1, 1, 1)),
    "stride 2, no padding": ConvProblem(1, 2, 7, 8, 2 * WIDE + 1, (3, 3), (1, 2)),
    "large window": ConvProblem(1, 3, 9, 11, 2 * WIDE, (7, 7), (2, 2), (3, 3, 3, 3), epilogue=Epilogue(bias=True)),
    "even window": ConvProblem(1, 4, 9, 5, 2 * WIDE, (2, 4), (2, 2), (0, 1, 2, 1)),
    "much padding": ConvProblem(1, 2, 5, 3, WIDE, (2, 3), (1, 1), (3, 4, 5, 6), epilogue=Epilogue(bias=True)),
    "much padding, stride 2": ConvProblem(
        1, 2, 5, 3, 2 * WIDE, (3, 3), (2, 2), (3, 4, 5, 6), epilogue=Epilogue(bias=True)
    ),
    "one row": ConvProblem(3, 4, 9, 1, WIDE, (1, 3), padding=(0, 0, 1, 1), epilogue=Epilogue(residual=True)),
    "residual": ConvProblem(1, 3, 7, 4, 2 * WIDE, (3, 3), (1, 2), (1, 1, 1, 1), epilogue=Epilogue(True, True, "relu")),
    "long epilogue": ConvProblem(
        1, 3, 7, 4, WIDE, (3, 3), padding=(1, 1, 1, 1), epilogue=Epilogue(True, True, "silu", residual_last=True)
    ),
}


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
@pytest.mark.parametrize(("rows", "vectors", "workers"), [(5, 1, 1), (4, 2, 2), (7, 3, 3), (16, 1, 2)])
def test_strips_of_rows_times_panels_of_channels(problem: ConvProblem, rows: int, vectors: int, workers: int) -> None:
    weight, inputs = operands(problem, 1.0, 0)
    got = compute(problem, StripSchedule(rows, vectors, HOST.lanes, workers), HOST, weight, inputs)
    assert relative_error(got, expect(problem, weight, inputs)) < 1e-5


def test_any_number_of_images() -> None:
    problem = replace(PROBLEMS["stride 2"], batch=None)
    schedule = StripSchedule(5, 1, HOST.lanes, 2)
    executable = compile_kernel(build(problem, schedule), HOST)
    for images in (1, 3):
        weight, inputs = operands(problem, 1.0, images, images)
        got = call(executable, pack(weight, problem, schedule), inputs)
        assert relative_error(got, expect(problem, weight, inputs)) < 1e-5


@pytest.mark.parametrize("target", [AVX2, AVX512, replace(AVX512, fma_units=1)], ids=["avx2", "avx512", "zen 4"])
def test_few_channels_are_not_packed(target: Target) -> None:
    """Packing takes as long as two or three output channels; with many of them it is soon forgotten."""
    many = ConvProblem(1, 64, 128, 56, 56, (3, 3), (2, 2), (1, 1, 1, 1))
    assert isinstance(space(STEM, 1.0, target)[0], StripSchedule)
    assert not isinstance(space(many, 1.0, target)[0], StripSchedule)


@pytest.mark.parametrize(
    "problem",
    [
        replace(STEM, groups=3, out_channels=12),
        replace(STEM, dilation=(2, 2)),
        replace(STEM, stride=(4, 4)),
        replace(STEM, kernel=(8, 8)),
        replace(STEM, kernel=(1, 1), padding=(0, 0, 0, 0)),
        replace(STEM, width=2 * AVX2.lanes - 2),
    ],
    ids=["groups", "dilation", "large stride", "large window", "1x1", "narrow"],
)
def test_what_it_cannot_compute_is_left_to_others(problem: ConvProblem) -> None:
    assert not any(isinstance(s, StripSchedule) for s in space(problem, 1.0, AVX2))


def test_weights_are_in_the_order_of_their_use() -> None:
    problem = ConvProblem(1, 2, 3, 8, 40, (2, 2))
    weight = np.arange(24, dtype=np.float32).reshape(3, 2, 2, 2)
    (values,) = pack(weight, problem, StripSchedule(2, 1, 16, 1))
    panels = values.reshape(2, 2, 2, 2, 2)  # panel, channel, row, column, channel of the panel
    np.testing.assert_array_equal(panels[0, ..., 1], weight[1])
    np.testing.assert_array_equal(panels[1, ..., 0], weight[2])
    assert not panels[1, ..., 1].any()

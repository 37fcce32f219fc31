"""Convolutions that are computed channel by channel, each for what follows to read at once: see `lower.chains`.

Each worker packs all of the input, and again for each piece, which is as many channels as fit half of the L1 cache, or
a panel of them. In return what it writes stays near. Between the layers of a MobileNetV2, on a Zen 4, it takes 4 to 8
cycles less to write and to read a vector of the result, but 0.06 K more for its products with K input channels, and
where they are packed 1.5 K more for that, divided by the channels of a piece.
"""

from collections.abc import Iterator
from dataclasses import replace

from sparsecomp.kernels.geometry import allows_direct, panel_registers
from sparsecomp.kernels.problem import ConvProblem, Problem
from sparsecomp.kernels.schedule import ColumnSchedule, Schedule
from sparsecomp.targets.base import Target

ROOM = 2  # a piece takes one in so many bytes of the L1 cache, if it is not a single unit
SPARE = 4  # registers, which LLVM needs for higher panels
GAIN, SLOWER, PACKING = 4.0, 0.06, 1.5  # cycles of a vector: saved, and lost for each input channel as said above


def rows_apart(problem: Problem, schedule: Schedule, target: Target) -> ColumnSchedule | None:
    """The same with rows of its own for each worker, if that is possible, and faster if each channel is read by itself.

    It is for dense 1x1 convolutions of one image.
    """
    if not isinstance(problem, ConvProblem) or not isinstance(schedule, ColumnSchedule) or schedule.sparse:
        return None
    plain = problem.batch == problem.groups == problem.taps == schedule.span == 1
    if not plain or schedule.workers == 1 or schedule.depth < problem.in_channels:
        return None
    return replace(schedule, apart=True) if _pays(problem, schedule, target) else None


def with_even_panels(problem: Problem, schedule: ColumnSchedule, target: Target) -> Iterator[ColumnSchedule]:
    """The same with higher panels, as many for each worker, and hardly a row that does not exist: 43 are 4 x 11."""
    assert isinstance(problem, ConvProblem)
    for panels in range(schedule.workers, problem.out_channels // schedule.rows, schedule.workers):
        found = replace(schedule, rows=-(-problem.out_channels // panels))
        fits = panel_registers(found.rows, found.vectors) + SPARE <= target.vector_registers
        if fits and (allows_direct(problem, found, target) or not found.direct):
            yield found


def _pays(problem: ConvProblem, schedule: ColumnSchedule, target: Target) -> bool:
    plane = 4 * problem.out_height * problem.out_width
    rows = schedule.rows * piece(problem.out_channels, schedule.rows, plane, target)
    stays = 4 * problem.in_channels * problem.height * problem.width <= target.l2_bytes // 2
    packing = 0.0 if schedule.direct else PACKING
    return stays and rows > 0 and problem.in_channels * (SLOWER + packing / rows) < GAIN


def piece(channels: int, each: int, plane: int, target: Target) -> int:
    """Of how many units, of so many channels each, a worker makes a piece; 0 if there are too few.

    ``plane`` is the bytes of a channel. The pieces of all workers together have no more than all channels.
    """
    return min(max(1, target.l1_bytes // (ROOM * each * plane)), channels // (each * target.cores))

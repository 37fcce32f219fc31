"""How the column kernel divides its work: each worker takes a run of units, a unit being a part of the rows of a tile."""

from dataclasses import dataclass

from sparsecomp.kernels.geometry import flatten, geometry
from sparsecomp.kernels.problem import ConvProblem, Problem
from sparsecomp.kernels.schedule import ColumnSchedule

FINER = (1, 2, 3, 4, 6, 8)
EVEN = 1.03  # the longest share over the mean that is even enough


@dataclass(frozen=True)
class Shares:
    """The division of the work.

    Attributes:
        parts: into how many parts the rows are divided.
        limits: at which unit the share of each worker begins, and the last ends; empty where the number of tiles is
            not known, and the units are dealt out evenly.
        uneven: the longest share over the mean.
    """

    parts: int
    limits: tuple[int, ...] = ()
    uneven: float = 1.0


def divide(problem: Problem, schedule: ColumnSchedule) -> Shares:
    """Parts no smaller than they need to be for even shares: the last tile of an image, or of all tokens, is narrower."""
    widths, parts = _widths(problem, schedule), schedule.workers * schedule.cuts
    if widths is None:
        return Shares(parts)
    found: list[Shares] = []
    for finer in FINER if schedule.workers > 1 else FINER[:1]:
        found.append(_deal(widths, schedule.workers, parts * finer))
        if found[-1].uneven <= EVEN:
            break
    return min(found, key=lambda shares: shares.uneven)


def _widths(problem: Problem, s: ColumnSchedule) -> list[int] | None:
    """Vectors of each group of column tiles, over all images and channel groups."""
    if isinstance(problem, ConvProblem):
        columns, copies = geometry(flatten(problem), s).columns, problem.batch and problem.batch * problem.groups
    else:
        columns, copies = problem.tokens, 1
    if columns is None or copies is None:
        return None
    full, rest = divmod(-(-columns // s.lanes), s.span * s.vectors)
    return ([s.span * s.vectors] * full + [rest] * bool(rest)) * copies


def _deal(widths: list[int], workers: int, parts: int) -> Shares:
    total = sum(widths)
    limits, loads, tile, before = [0], [], 0, 0  # `before`: vectors of the tiles before this one
    for worker in range(1, workers):
        share = total * worker / workers
        while tile < len(widths) - 1 and before + widths[tile] <= share:
            before, tile = before + widths[tile], tile + 1
        inside = min(parts, round((share - before) / widths[tile] * parts))
        limits.append(max(limits[-1], tile * parts + inside))
        loads.append(before + widths[tile] * inside / parts)
    limits.append(len(widths) * parts)
    ends = [0.0, *loads, float(total)]
    longest = max(b - a for a, b in zip(ends, ends[1:], strict=False))
    return Shares(parts, tuple(limits), longest * workers / total)

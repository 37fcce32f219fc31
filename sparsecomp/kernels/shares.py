"""How the column kernel divides its work: a worker takes a run of units, each a part of the rows of one tile."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

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
        limits: at which unit the share of each worker begins, and the last ends; empty where units are dealt out
            evenly, since the number of tiles is not known or there is one worker.
        uneven: the longest share over the mean.
    """

    parts: int
    limits: tuple[int, ...] = ()
    uneven: float = 1.0


def divide(problem: Problem, schedule: ColumnSchedule) -> Shares:
    """Parts no smaller than even shares need: the last tile of an image, or of all tokens, is narrower."""
    s = schedule
    if isinstance(problem, ConvProblem):
        columns, copies = geometry(flatten(problem), s).columns, (problem.batch or 0) * problem.groups
    else:
        columns, copies = problem.tokens or 0, 1
    vectors = -(-columns // s.lanes) if copies else 0  # none if their number is not known
    return _divide(vectors, copies, s.span * s.vectors, s.workers, s.workers * s.cuts)


@lru_cache(maxsize=4096)  # most schedules of a layer differ in what is not asked here
def _divide(vectors: int, copies: int, width: int, workers: int, parts: int) -> Shares:
    """So many vectors of columns, in so many images and groups, in groups of tiles of so many vectors."""
    if vectors == 0 or workers == 1:
        return Shares(parts)
    full, rest = divmod(vectors, width)
    widths = ([width] * full + [rest] * bool(rest)) * copies
    found: list[Shares] = []
    for finer in FINER:
        found.append(_deal(widths, workers, parts * finer))
        if found[-1].uneven <= EVEN:
            break
    return min(found, key=lambda shares: shares.uneven)


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
    longest = max(b - a for a, b in pairwise(ends))
    return Shares(parts, tuple(limits), longest * workers / total)

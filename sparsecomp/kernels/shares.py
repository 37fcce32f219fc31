"""How the column kernel divides its work: a worker takes a run of units, each a part of the rows of one tile."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from sparsecomp.kernels.geometry import flatten, geometry, tail
from sparsecomp.kernels.problem import ConvProblem, Problem
from sparsecomp.kernels.schedule import ColumnSchedule

FINER = (1, 2, 3, 4, 6, 8)
EVEN = 1.03  # the longest share over the mean that is even enough
DENSITY = 0.1  # of sparse weights, which a kernel does not know
COPYING, TRANSPOSING = 5.0, 8.0  # what it takes to pack a vector of pixels or tokens, in products of a vector


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
    width, density = s.span * s.vectors, DENSITY if s.sparse else 1.0
    if isinstance(problem, ConvProblem):
        g = geometry(flatten(problem), s)
        columns, copies = g.columns - tail(g.columns, s), (problem.batch or 0) * problem.groups
        if s.apart:
            return _divide_rows(problem.out_channels, s.rows, s.workers)
        packed = 0.0 if s.direct else COPYING * g.channel / (width * s.lanes)
        products = problem.out_channels // problem.groups * problem.taps * density
    else:
        columns, copies = problem.tokens or 0, 1
        packed, products = 0.0 if problem.x_tile else TRANSPOSING, problem.out_features * density
    vectors = -(-columns // s.lanes) if copies else 0  # none if their number is not known
    return _divide(vectors, copies, width, s.workers, s.workers * s.cuts, packed / products)


def _divide_rows(rows: int, panel: int, workers: int) -> Shares:
    """Each panel is a part of its own, and a worker has the same ones of all tiles.

    The last one may have fewer rows, which saves this kernel nothing, but the one that follows.
    """
    panels = -(-rows // panel)
    limits = tuple(panels * worker // workers for worker in range(workers + 1))
    longest = max((end * panel + min(end * panel, rows)) / 2 - begin * panel for begin, end in pairwise(limits))
    return Shares(panels, limits, 2 * longest * workers / (panels * panel + rows))


@lru_cache(maxsize=4096)  # most schedules of a layer differ in what is not asked here
def _divide(vectors: int, copies: int, width: int, workers: int, parts: int, packing: float) -> Shares:
    """So many vectors of columns, in so many images and groups, in groups of tiles of so many vectors.

    Packing a tile takes ``packing`` of what multiplying it takes, and every worker that has a part of it packs it.
    """
    if vectors == 0 or workers == 1:
        return Shares(parts)
    full, rest = divmod(vectors, width)
    widths = ([width] * full + [rest] * bool(rest)) * copies
    found = [_deal(widths, workers, parts, packing, whole=True)]
    for finer in FINER:
        if found[-1].uneven <= EVEN:
            break
        found.append(_deal(widths, workers, parts * finer, packing, whole=False))
    return min(found, key=lambda shares: shares.uneven)


def _deal(widths: list[int], workers: int, parts: int, packing: float, whole: bool) -> Shares:
    """Shares that end where equal ones would, or at the end of a tile that is the nearest."""
    total, step = sum(widths), parts if whole else 1
    limits, tile, before = [0], 0, 0  # `before`: vectors of the tiles before this one
    for worker in range(1, workers):
        share = total * worker / workers
        while tile < len(widths) - 1 and before + widths[tile] <= share:
            before, tile = before + widths[tile], tile + 1
        inside = min(1.0, (share - before) / widths[tile])
        limits.append(max(limits[-1], tile * parts + round(inside * parts / step) * step))
    limits.append(len(widths) * parts)
    longest = max(_load(widths, parts, packing, *share) for share in pairwise(limits))
    return Shares(parts, tuple(limits), longest * workers / (total * (1 + packing)))


def _load(widths: list[int], parts: int, packing: float, begin: int, end: int) -> float:
    """What the units ``begin ... end`` take, in vectors of columns."""
    load = 0.0
    for tile in range(begin // parts, -(-end // parts)):
        units = min(end, (tile + 1) * parts) - max(begin, tile * parts)
        load += widths[tile] * (units / parts + packing)
    return load

"""The schedules of the row-panel family that are worth trying for a layer."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from operator import itemgetter

from sparsecomp.kernels.cost import PANEL_ROWS, WeightStats, at_width, predict
from sparsecomp.kernels.geometry import (
    allows_direct,
    flatten,
    geometry,
    may_divide,
    panel_registers,
    suits_strips,
    suits_winograd,
    tile_vectors,
)
from sparsecomp.kernels.problem import ConvProblem, LinearProblem, Problem
from sparsecomp.kernels.schedule import (
    ChannelSchedule,
    ColumnSchedule,
    FeatureSchedule,
    Schedule,
    StripSchedule,
    WinogradSchedule,
    WinogradTileSchedule,
    is_sparse,
)
from sparsecomp.targets.base import Target

SLICES = (1, 2, 3, 4)
ALONE = 16  # of the best schedules are also considered on one thread
SHARED_CHUNKS = 4  # of a worker, so that it matters how workers share one
DOUBT = 1.15  # so much faster than a dense schedule must a sparse one be thought: it promises never to be slower
DOUBTED = 0.3e-6  # seconds in addition: what decides a call of a microsecond is less known


def space(problem: Problem, stats: WeightStats | float, target: Target) -> list[Schedule]:
    """All schedules worth trying, those to prefer first; dense ones are always among them.

    That is the order of their predicted times, where a sparse one that gains next to nothing comes after a dense one.

    Args:
        problem: what to compute.
        stats: of the weight; a number is the density of a weight whose zeros are anywhere.
        target: the device.
    """
    known = stats if isinstance(stats, WeightStats) else WeightStats.unstructured(stats)
    candidates: list[Schedule] = [*_column_schedules(problem, target)]
    if known.clustered:
        candidates += [replace(s, clustered=True) for s in candidates if isinstance(s, ColumnSchedule) and _merges(s)]
    if isinstance(problem, LinearProblem):
        candidates += _scalar_schedules(problem, target)
        for each in _widths(problem.out_features, target):
            candidates += _feature_schedules(problem, each)
    else:
        for each in _widths(problem.out_channels // problem.groups, target):
            candidates += [*_channel_schedules(problem, each), *_winograd_schedules(problem, each)]
        for each in _widths(problem.out_width, target):
            candidates += _strip_schedules(problem, each)
        candidates += _winograd_tile_schedules(problem, target)

    def timed(schedules: Iterable[Schedule]) -> list[tuple[float, Schedule]]:
        return [(_doubted(predict(problem, known, s, target), s), s) for s in schedules]

    ranked = sorted(timed(candidates), key=itemgetter(0))
    if target.cores > 1 and not _size_varies(problem):
        ranked += timed(replace(s, workers=1) for _, s in ranked[:ALONE])
        ranked.sort(key=itemgetter(0))
    return [s for _, s in ranked]


def _doubted(seconds: float, schedule: Schedule) -> float:
    return seconds * DOUBT + DOUBTED if is_sparse(schedule) else seconds


def _widths(rows: int, target: Target) -> tuple[Target, ...]:
    """The target; and with half its vectors, of which a core starts twice as many, where rows leave lanes empty."""
    if target.fma_units > 1 or rows % target.lanes == 0:
        return (target,)
    return target, at_width(target, target.lanes // 2)


def _size_varies(problem: Problem) -> bool:
    return (problem.tokens if isinstance(problem, LinearProblem) else problem.batch) is None


def _merges(schedule: ColumnSchedule) -> bool:
    """Whether rows share the columns that they store."""
    return schedule.sparse and schedule.rows > 1


def _scalar_schedules(problem: LinearProblem, target: Target) -> list[Schedule]:
    """One token or two: a vector along the tokens would be empty, so single values, many rows at once."""
    if problem.tokens not in (1, 2):
        return []
    limit = target.vector_registers // (2 * problem.tokens)
    depth = min(problem.in_features, max(1, target.l1_bytes // 2 // (4 * problem.tokens)))
    tile = ColumnSchedule(1, problem.tokens, depth, 1, True, False, 1, target.cores)
    return [replace(tile, slice=slice) for slice in (4, 8, 16) if slice <= limit]


def _feature_schedules(problem: LinearProblem, target: Target) -> list[Schedule]:
    found: list[Schedule] = []
    for vectors in range(1, 9):
        room = _most_sums(vectors, target)
        if room < 1:
            continue
        tokens = min(room, problem.judged, 14)
        depths = sorted({min(problem.in_features, d) for d in (256, 512, 1024, problem.in_features)})
        found += [FeatureSchedule(tokens, vectors, depth, target.lanes, target.cores) for depth in depths]
    return found


def _most_sums(vectors: int, target: Target) -> int:
    """How many values times so many vectors fit the registers.

    LLVM loads all values for a single vector before it multiplies, unless products take them from memory (AVX-512).
    """
    if vectors == 1:
        return (target.vector_registers - 1) // 2 if target.vector_registers <= 16 else target.vector_registers - 4
    return (target.vector_registers - 1) // vectors - 1


def _channel_schedules(problem: ConvProblem, target: Target) -> list[Schedule]:
    """Tiles that fill the registers or divide a row of the image; the weights of a depth block stay in the L2 cache."""
    if problem.batch is None:
        return []
    found: list[Schedule] = []
    channels = problem.in_channels // problem.groups
    for vectors in range(1, 5):
        most = min(_most_sums(vectors, target), problem.out_width)
        for pixels in {n for n in range(max(1, most // 2), most + 1) if problem.out_width % n == 0} | {max(1, most)}:
            panel = vectors * target.lanes * 4
            depths = {_even(channels, max(1, int(s * target.l2_bytes) // (problem.taps * panel))) for s in (0.06, 0.16)}
            rows = max(1, target.l2_bytes // 8 // (problem.out_width * panel))
            chunks = {-(-problem.out_height // n) for n in (1, 2, 4, 8)}
            fitting = {c for c in chunks if c <= rows} or {min(rows, problem.out_height)}
            found += [
                ChannelSchedule(pixels, vectors, depth, chunk, target.lanes, target.cores)
                for depth in depths
                for chunk in fitting
            ]
    return found


def _strip_schedules(problem: ConvProblem, target: Target) -> list[Schedule]:
    """Panels of nearly equal size, whose weights stay in the L1 cache.

    A single vector is enough where a core starts one FMA a cycle. Where products do not take weights from memory, as
    AVX-512 can, each has to be loaded for itself: that is too much for one vector.
    """
    found: list[Schedule] = []
    few = target.vector_registers <= 16
    for vectors in (1,) if target.fma_units == 1 else (2,) if few else (1, 2, 3):
        # The inputs of some columns wait in registers; where these are few, LLVM spills a sum or two, which pays.
        most = min((target.vector_registers - (0 if few else 4)) // vectors - 3, 16)
        if most < 1 or not suits_strips(problem, vectors * target.lanes):
            continue
        fitting = target.l1_bytes // (2 * 4 * problem.in_channels * problem.taps)
        panels = range(-(-problem.out_channels // most), -(-problem.out_channels // min(4, most)) + 1)
        rows = {-(-problem.out_channels // n) for n in panels}
        found += [StripSchedule(r, vectors, target.lanes, target.cores) for r in sorted(rows) if r <= fitting]
    return found


def _winograd_schedules(problem: ConvProblem, target: Target) -> Iterator[Schedule]:
    for outputs, rows, across in _chunks(problem):
        chunks = -(-(-(-problem.out_height // outputs) * (problem.batch or 1)) // rows)
        shared = chunks < SHARED_CHUNKS * target.cores and chunks % target.cores != 0
        for vectors in range(1, 6):
            most = min(_most_sums(vectors, target), rows * across)
            tiles = {n for n in range(max(1, most // 2), most + 1) if rows * across % n == 0} | {max(1, most)}
            for n in sorted(tiles):
                schedule = WinogradSchedule(outputs, n, vectors, rows, target.lanes, target.cores)
                yield schedule
                if shared and may_divide(problem, schedule):
                    yield replace(schedule, divided=True)


def _winograd_tile_schedules(problem: ConvProblem, target: Target) -> Iterator[Schedule]:
    """Panels of nearly equal size, as many as share evenly among the workers."""
    for outputs, rows, across in _chunks(problem):
        for each in _widths(rows * across, target):
            all_vectors = tile_vectors(rows, across, each.lanes)
            for vectors in sorted({-(-all_vectors // parts) for parts in (1, 2, 3, 4)}):
                most = _most_sums(vectors, each)
                if most < 1:
                    continue
                fewest = -(-problem.out_channels // most)
                for panels in sorted({fewest, fewest + 1, -(-fewest // each.cores) * each.cores}):
                    panel = -(-problem.out_channels // panels)
                    group = _group(problem, panels, 4 * (outputs + 2) ** 2 * all_vectors * each.lanes, each)
                    yield WinogradTileSchedule(outputs, panel, vectors, group, rows, each.lanes, each.cores)


def _group(problem: ConvProblem, panels: int, channel: int, target: Target) -> int:
    """How many panels read the transformed inputs at once: those whose sums are in the L2 cache beside the inputs.

    Where these fill it, as many as have sums of a quarter of it. ``channel`` is the bytes of one, of inputs or of sums.
    """
    room = max(target.l2_bytes // 4, target.l2_bytes * 7 // 10 - problem.in_channels * channel)
    return max(1, min(panels, room * panels // (problem.out_channels * channel)))


def _chunks(problem: ConvProblem) -> Iterator[tuple[int, int, int]]:
    """Outputs of a tile, rows of tiles of a chunk, tiles of a row.

    Chunks of up to about a hundred tiles use each weight often, and their transforms stay in the caches.
    """
    if not suits_winograd(problem):
        return
    for outputs in (2, 4):
        down, across = -(-problem.out_height // outputs), -(-problem.out_width // outputs)
        whole = down * (problem.batch or 1)
        rows = {n for n in (1, 2, 4, 7, 8, -(-down // 2), down, whole) if n == 1 or (n <= whole and n * across <= 112)}
        yield from ((outputs, n, across) for n in sorted(rows))


def _column_schedules(problem: Problem, target: Target) -> list[Schedule]:
    found: list[Schedule] = []
    shared = isinstance(problem, ConvProblem) and problem.taps > 1
    for rows, vectors, slice in _register_tiles(target):
        for sparse in (True, False):
            if rows not in PANEL_ROWS if sparse else rows < 4:
                continue
            for expand in (False, True) if shared else (False,):
                tile = ColumnSchedule(
                    rows, vectors, 1, 1, sparse, expand, target.lanes, target.cores, slice=slice if sparse else 1
                )
                found += _with_depths(problem, tile, target)
    return found


def _register_tiles(target: Target) -> Iterator[tuple[int, int, int]]:
    """Rows, vectors and slices whose sums fit the registers; only single rows gain from slices.

    Of higher panels LLVM loads what comes next early, all weights of a column where it has a single vector, and spills
    where that leaves no registers: seen in the machine code for 16 of them with none to spare, for 32 with less than 4.
    """
    spare = 1 if target.vector_registers <= 16 else 4
    for rows in (*PANEL_ROWS, 5, 6, 7):
        for vectors in range(1, 13):
            for slice in SLICES if rows == 1 else (1,):
                registers = panel_registers(rows, vectors) + spare if rows > 1 else slice * (vectors + 1)
                fits = registers <= target.vector_registers and vectors * target.lanes <= 256
                if fits and (slice == 1 or vectors * slice <= target.vector_registers // 2):
                    yield rows, vectors, slice


def _with_depths(problem: Problem, s: ColumnSchedule, target: Target) -> list[Schedule]:
    """Depth blocks that fill a part of the L1 cache, dense ones of the L2 cache; dense tiles may be packed together.

    What sparse ones gain of it is less than they lose where the tiles leave the L1 cache: 1x1 with stride 2, 256 to 512
    channels, 90 % zeros, took 213, 255 and 309 us for 1, 2 and 4 tiles (Zen 3).
    """
    channels = problem.in_features if isinstance(problem, LinearProblem) else problem.in_channels // problem.groups
    found: list[Schedule] = []
    for span in (1,) if s.sparse else (1, 2, 4):
        wide = replace(s, span=span)
        if isinstance(problem, ConvProblem):
            g = geometry(flatten(problem), wide)
            columns, size = float(g.columns), g.channel * 4
        else:
            columns, size = problem.tokens or math.inf, span * s.vectors * s.lanes * 4
        full = (span - 1) * s.vectors or s.vectors - 1
        if full * s.lanes >= columns:  # a tile, or a vector of the only one, would be empty
            continue
        limits = (0.35, 0.6, 0.85, 1.3, 1.6) if s.sparse else (0.7, 4.0, 12.0)
        depths = {min(channels, max(1, int(share * target.l1_bytes * span) // size)) for share in limits}
        packed = [replace(wide, depth=_even(channels, d)) for d in sorted(depths)]
        found += packed
        if isinstance(problem, LinearProblem):
            found += [cut for each in packed for cut in _cut(problem, each, target)]
        if span == 1:
            found += [replace(each, direct=True) for each in packed if allows_direct(problem, each, target)]
    return found


def _cut(problem: LinearProblem, s: ColumnSchedule, target: Target) -> list[Schedule]:
    """The same with sums that take an eighth of the L2 cache, where all take more than a quarter, but x does not."""
    span, room = 4 * s.span * s.vectors * s.lanes, target.l2_bytes // 4
    if s.depth == problem.in_features or problem.in_features * span > room or problem.out_features * span <= room:
        return []
    return [replace(s, cuts=-(-2 * problem.out_features * span // (room * s.workers)))]


def _even(channels: int, depth: int) -> int:
    """The depth that cuts the channels into as many blocks, but of nearly equal size."""
    blocks = -(-channels // depth)
    even = -(-channels // blocks)
    return min(channels, -(-even // 16) * 16) if even >= 64 else even

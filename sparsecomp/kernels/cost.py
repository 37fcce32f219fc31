"""A model of what a schedule costs, from the fields of the target alone: it ranks schedules, it does not promise times.

Counted in cycles of a core with two vector FMA and two vector loads a cycle (Fog, Instruction tables; the constants
are of that size on all x86 cores since Haswell and Zen).
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sparsecomp.formats.clustering import cluster_rows
from sparsecomp.kernels.cost_dense import (
    L2_BYTES_PER_CYCLE,
    LATENCY,
    channel_cycles,
    feature_cycles,
    scalar,
    step_cycles,
    stream_cycles,
    strip_cycles,
    winograd_cycles,
    winograd_tile_cycles,
)
from sparsecomp.kernels.geometry import Geometry, copies_lines, flatten, geometry, row_lanes, tail, widths
from sparsecomp.kernels.problem import ConvProblem, LinearProblem, Problem
from sparsecomp.kernels.schedule import (
    ChannelSchedule,
    ColumnSchedule,
    FeatureSchedule,
    Schedule,
    StripSchedule,
    WinogradSchedule,
    WinogradTileSchedule,
)
from sparsecomp.kernels.shares import divide
from sparsecomp.targets.base import Target

PANEL_ROWS = (1, 2, 4, 8)
WORTH = 0.8  # clustering is considered where it makes panels this much fuller
SAMPLE = 1024  # rows of a large weight that clustering is judged by
PANEL_OVERHEAD = 14
LOADED = {2: 0.6, 4: 0.25}  # cycles for a weight and its offset in slices that load several at once; else 0.75
CUT = 1.04  # how much slower products are with rows in cuts: 1.04 to 1.06 where it was measured (Zen 3)
LAUNCH = 4e-6  # seconds to wake other threads, to wait for the last, and to fetch what they wrote


@dataclass(frozen=True)
class WeightStats:
    """How full a weight is, seen in panels of several heights.

    Attributes:
        stored: for each of ``PANEL_ROWS``, the share of the panels' columns that have a nonzero.
        clustered: the same where panels are made of similar rows; empty where they would be no fuller.
    """

    stored: tuple[float, ...]
    clustered: tuple[float, ...] = ()

    @property
    def density(self) -> float:
        """The share of the weights that are not zero."""
        return self.stored[0]

    @staticmethod
    def of(weight: npt.NDArray[np.generic]) -> "WeightStats":
        """The statistics of a weight, ``[out, ...]``."""
        matrix = weight.reshape(len(weight), -1) != 0
        stored = tuple(_stored(matrix, rows) for rows in PANEL_ROWS)
        clustered = stored if stored[0] in (0.0, 1.0) else _clustered(matrix)
        pays = any(after < WORTH * before for after, before in zip(clustered, stored, strict=True))
        return WeightStats(stored, clustered if pays else ())

    @staticmethod
    def unstructured(density: float) -> "WeightStats":
        """The statistics of a weight whose zeros are anywhere."""
        return WeightStats(tuple(1 - (1 - density) ** rows for rows in PANEL_ROWS))


def _stored(matrix: npt.NDArray[np.bool_], rows: int) -> float:
    padded = np.pad(matrix, ((0, -len(matrix) % rows), (0, 0)))
    return float(padded.reshape(-1, rows, matrix.shape[1]).any(axis=1).mean())


def _clustered(matrix: npt.NDArray[np.bool_]) -> tuple[float, ...]:
    """The shares for panels of similar rows; estimated from a part of a large weight's rows."""
    sample = matrix[:SAMPLE]
    return tuple(_stored(sample[cluster_rows(sample, rows)] if rows > 1 else matrix, rows) for rows in PANEL_ROWS)


def predict(problem: Problem, stats: WeightStats, schedule: Schedule, target: Target) -> float:
    """The seconds that one call is thought to take."""
    target = at_width(target, schedule.lanes)
    cycle = 4 * target.lanes / target.flops
    if isinstance(schedule, FeatureSchedule):
        assert isinstance(problem, LinearProblem)
        cycles = feature_cycles(problem, schedule, target)
    elif isinstance(schedule, ChannelSchedule):
        assert isinstance(problem, ConvProblem)
        cycles = channel_cycles(problem, schedule, target)
    elif isinstance(schedule, StripSchedule):
        assert isinstance(problem, ConvProblem)
        cycles = strip_cycles(problem, schedule, target)
    elif isinstance(schedule, WinogradSchedule):
        assert isinstance(problem, ConvProblem)
        cycles = winograd_cycles(problem, schedule, target)
    elif isinstance(schedule, WinogradTileSchedule):
        assert isinstance(problem, ConvProblem)
        cycles = winograd_tile_cycles(problem, schedule, target)
    else:
        cycles = _column_cycles(problem, stats, schedule, target)
    parts = min(schedule.workers, target.cores)
    return cycle * (cycles + 0.7 * _traffic_cycles(problem, target) / parts) + (LAUNCH if parts > 1 else 0.0)


def at_width(target: Target, lanes: int) -> Target:
    """The target as a schedule of so many lanes sees it; single values are no vectors."""
    return target if lanes in (1, target.lanes) else replace(target, vector_bits=32 * lanes, fma_units=2)


def _traffic_cycles(problem: Problem, target: Target) -> float:
    """Cycles of one core to bring x in from the cache that it fits, and y out; a store reads the line first."""
    p = problem
    if isinstance(p, LinearProblem):
        values = p.judged * (p.in_features + 2 * p.out_features)
    else:
        pixels = 2 * p.out_channels * p.out_height * p.out_width
        values = (p.batch or 1) * (p.in_channels * p.height * p.width + pixels)
    return stream_cycles(4 * values, target)


def _column_cycles(problem: Problem, stats: WeightStats, s: ColumnSchedule, target: Target) -> float:
    shape = _shape(problem, s)
    shares = stats.clustered if s.clustered and stats.clustered else stats.stored
    share = shares[PANEL_ROWS.index(s.rows)] if s.sparse else 1.0
    panels = -(-shape.rows // s.rows)
    entries = share * panels * shape.channels * shape.taps
    blocks = -(-shape.channels // s.depth)
    partial = 0.0 if isinstance(problem, ConvProblem) and blocks == 1 else _from_beyond_l2(s, shape, target)
    single = s.sparse and s.rows == 1
    products = (_single_rows if single else _panels)(s, shape, target, entries, panels * blocks, partial)
    reload = (
        shape.channels * shape.tile_bytes / L2_BYTES_PER_CYCLE * scalar(target) if s.span > 1 else 0.0
    )  # else packing put it in L1
    products *= CUT if s.cuts > 1 else 1.0
    tile = products + reload + (1.8 if single else 1.0) * shape.rows * shape.store_cycles / s.span
    packing = shape.channels * shape.pack_cycles * max(1.0, s.workers / max(1.0, shape.tiles))
    weights = stream_cycles(entries * (4 * s.rows + 2), target)
    parts = min(s.workers, target.cores) / divide(problem, s).uneven
    return max(shape.tiles * (tile * s.span + packing) / parts, weights * s.span * shape.tiles / parts)


def _from_beyond_l2(s: ColumnSchedule, shape: "_Shape", target: Target) -> float:
    """How many times longer a vector of sums takes to come and go where they do not stay in the L2 cache."""
    rows = shape.rows / (1 if s.cuts == 1 and shape.tiles >= s.workers else s.workers * s.cuts)
    room = target.l2_bytes / 4
    tiles = 4 * s.span * s.vectors * s.lanes
    return 1 + 0.3 * min(1.0, max(0.0, rows * tiles - room) / room)


def _single_rows(
    s: ColumnSchedule, shape: "_Shape", target: Target, entries: float, lists: float, partial: float
) -> float:
    """Cycles of the products where a panel is one row; the constants are fitted to measurements."""
    beyond = min(1.0, max(0.0, s.depth * shape.tile_bytes / target.l1_bytes - 0.9) / 2.1)
    each = scalar(target)
    # Channels of x itself lie in cache sets and on pages of their own, of which the first table holds some 70.
    apart = 1 + 0.3 * max(1.0, s.depth / 80) if s.direct else 1.0
    loads = s.vectors * (1 + shape.split) * (1 + shape.from_l2 * beyond * each) * apart
    least = max(LATENCY * 0.7 / s.slice, 1.25 if s.lanes == 1 else 1.4)
    step = max(0.6 * loads + LOADED.get(s.slice, 0.75) * each, least * each)
    return entries * step + lists * ((10 / s.slice + 2.5) * each + 2.4 * s.vectors * partial)


def _panels(s: ColumnSchedule, shape: "_Shape", target: Target, entries: float, lists: float, partial: float) -> float:
    """Cycles of the products of higher panels, sparse or dense."""
    from_l1 = s.depth * shape.tile_bytes <= 0.85 * target.l1_bytes
    if s.sparse:
        step = _sparse_step(s, shape.split, from_l1, scalar(target))
    else:
        stream = s.vectors * s.lanes * 4 / L2_BYTES_PER_CYCLE * scalar(target)
        step = step_cycles(s.rows, s.vectors, target, shape.split) + stream * (0.1 if from_l1 else 0.35)
    return entries * step + lists * (_panel_overhead(s, target) + 2 * s.rows * s.vectors * partial)


def _panel_overhead(s: ColumnSchedule, target: Target) -> float:
    """Cycles between the products of one panel and those of the next.

    Where a core starts one FMA a cycle, there is time for all else that dense panels of a single vector need, whose
    weights are operands of the FMAs. Sums of more vectors are not stored while the next panel is multiplied.
    """
    if s.sparse or target.fma_units > 1:
        return PANEL_OVERHEAD * scalar(target)
    return 1.0 if s.vectors == 1 else float(s.rows * s.vectors)


def _sparse_step(s: ColumnSchedule, split: float, from_l1: bool, each: float) -> float:
    """Cycles of one stored column of R rows; loads that cross cache lines count twice, from L2 two and a half times."""
    fmas = s.rows * s.vectors
    loads = s.vectors * (1 + split) * (1 if from_l1 else 2.5) + s.rows * each
    decode = (fmas + s.rows + s.vectors + 3) / 5 * each
    latency = LATENCY * 0.75 * each if fmas < 6 else 0.0
    return max(fmas / 2, loads / 2, decode, latency) + (0.75 + 0.08 * loads) * each


@dataclass(frozen=True)
class _Shape:
    """A problem as the column kernel sees it; cycles are for one group of tiles."""

    rows: int
    channels: int
    taps: int
    tiles: float
    tile_bytes: float
    split: float
    pack_cycles: float
    store_cycles: float
    from_l2: float = 0.9  # of the time of a load from the L1 cache, what one from the L2 cache takes longer


def _shape(problem: Problem, s: ColumnSchedule) -> _Shape:
    span = s.span * s.vectors * s.lanes
    vectors = s.span * s.vectors
    if isinstance(problem, LinearProblem):
        tiles = _tiles(problem.judged, problem.tokens is not None, s)
        rows = -(-problem.out_features // s.lanes) * s.lanes
        pack, stores = 1.0 if problem.x_tile else 6.0, 1.5 if problem.y_tile else 10.0
        size, from_l2 = span / s.span * 4, 0.5  # less than with pixels: a fit to measurements
        return _Shape(rows, problem.in_features, 1, tiles, size, 0.0, pack * vectors, stores * vectors, from_l2)
    flat = flatten(problem)
    g = geometry(flat, s)
    pack = vectors * 1.0 if s.direct else len(g.row_shifts) * len(g.column_shifts) * _plane_cycles(flat, g, s.lanes)
    stores = vectors * 1.5 if g.pitch == flat.out_width else vectors * 3 + (span / g.pitch + s.span) * 8
    aligned = s.expand or (flat.taps == 1 and not (s.direct and g.columns % s.lanes))
    split = 0.0 if aligned else s.lanes / 16 * (0.9 if g.pitch % s.lanes else 1 - 1 / flat.kernel[1])
    tiles = (problem.batch or 1) * problem.groups * _tiles(g.columns, True, s)
    return _Shape(
        rows=problem.out_channels // problem.groups,
        channels=problem.in_channels // problem.groups,
        taps=problem.taps,
        tiles=tiles,
        tile_bytes=(g.plane - span + span // s.span) * len(g.row_shifts) * len(g.column_shifts) * 4,
        split=split,
        pack_cycles=pack,
        store_cycles=stores,
    )


def _tiles(columns: int, known: bool, s: ColumnSchedule) -> float:
    """Groups of column tiles; the last may be narrower, and what it takes falls with its width, but not to nothing.

    Of a tail each column takes as many products as the rows of a panel have vectors.
    """
    beyond = tail(columns, s)
    full, rest = divmod(columns - beyond, s.vectors * s.lanes)
    tiles = full + beyond * row_lanes(s.rows) / (s.lanes * s.rows * s.vectors)
    if rest == 0:
        return tiles / s.span
    left = -(-rest // s.lanes)
    width = min(w for w, _ in widths(columns if known else None, s) if w >= left)
    return (tiles + 0.25 + 0.75 * width / s.vectors) / s.span


def _plane_cycles(problem: ConvProblem, g: Geometry, lanes: int) -> float:
    """Cycles to pack one plane; the constants are fitted to measurements."""
    if copies_lines(problem, g):
        return 1.3 * g.plane / lanes
    chunks = (g.plane / g.pitch + 1) * -(-min(g.pitch, g.plane) // lanes)
    if problem.stride[1] > 2:
        return 2.0 * lanes * chunks
    return (2.5 if g.pitch == problem.out_width else 5.5) * chunks

"""A model of what a schedule costs, from the fields of the target alone: it ranks schedules, it does not promise times.

Counted in cycles of a core with two vector FMA and two vector loads a cycle (Fog, Instruction tables; the constants
are of that size on all x86 cores since Haswell and Zen).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparsecomp.kernels.geometry import flatten, geometry
from sparsecomp.kernels.problem import ConvProblem, LinearProblem, Problem
from sparsecomp.kernels.schedule import ColumnSchedule, FeatureSchedule, Schedule
from sparsecomp.targets.base import Target

PANEL_ROWS = (1, 2, 4, 8)
UNKNOWN_TOKENS = 128
LATENCY = 4
PANEL_OVERHEAD = 14
L2_BYTES_PER_CYCLE = 32


@dataclass(frozen=True)
class WeightStats:
    """How full a weight is, seen in panels of several heights.

    Attributes:
        stored: for each of ``PANEL_ROWS``, the share of the panels' columns that have a nonzero.
    """

    stored: tuple[float, ...]

    @property
    def density(self) -> float:
        """The share of the weights that are not zero."""
        return self.stored[0]

    @staticmethod
    def of(weight: npt.NDArray[np.generic]) -> "WeightStats":
        """The statistics of a weight, ``[out, ...]``."""
        matrix = weight.reshape(len(weight), -1) != 0
        shares = []
        for rows in PANEL_ROWS:
            padded = np.pad(matrix, ((0, -len(matrix) % rows), (0, 0)))
            shares.append(float(padded.reshape(-1, rows, matrix.shape[1]).any(axis=1).mean()))
        return WeightStats(tuple(shares))

    @staticmethod
    def unstructured(density: float) -> "WeightStats":
        """The statistics of a weight whose zeros are anywhere."""
        return WeightStats(tuple(1 - (1 - density) ** rows for rows in PANEL_ROWS))


def predict(problem: Problem, stats: WeightStats, schedule: Schedule, target: Target) -> float:
    """The seconds that one call is thought to take, on all cores of the target."""
    cycle = 4 * target.lanes / target.flops
    if isinstance(schedule, FeatureSchedule):
        assert isinstance(problem, LinearProblem)
        return cycle * _feature_cycles(problem, schedule, target)
    return cycle * _column_cycles(problem, stats, schedule, target)


def _feature_cycles(problem: LinearProblem, s: FeatureSchedule, target: Target) -> float:
    tokens = problem.tokens or UNKNOWN_TOKENS
    panel = s.vectors * s.lanes
    panels = -(-problem.out_features // panel)
    full, rest = divmod(tokens, s.tokens)
    step = full * _step(s.tokens, s.vectors) + (_step(rest, s.vectors) if rest else 0)
    blocks = -(-problem.in_features // s.depth)
    stores = tokens * s.vectors * panels * 2 * blocks
    compute = (step * problem.in_features * panels + stores) / s.workers
    weights = problem.in_features * panels * panel * 4
    return max(compute, _stream_cycles(weights, target) / min(s.workers, target.cores))


def _step(rows: int, vectors: int) -> float:
    """Cycles of one column of a register tile: as many as its FMAs, its loads, its latency or its decoding take."""
    fmas = rows * vectors
    return max(fmas / 2, (rows + vectors) / 2, LATENCY * min(1.0, 8 / max(fmas, 8)), (fmas + vectors + 3) / 5)


def _stream_cycles(nbytes: float, target: Target) -> float:
    """Cycles to read something once from where it fits."""
    cycle = 4 * target.lanes / target.flops
    level = 1 if nbytes < target.l2_bytes / 2 else 2 if nbytes < target.l3_bytes / 2 else 3
    return nbytes / target.bytes_per_s[level] / cycle


def _column_cycles(problem: Problem, stats: WeightStats, s: ColumnSchedule, target: Target) -> float:
    shape = _shape(problem, s)
    share = stats.stored[PANEL_ROWS.index(s.rows)] if s.sparse else 1.0
    panels = -(-shape.rows // s.rows)
    entries = share * panels * shape.channels * shape.taps
    blocks = -(-shape.channels // s.depth)
    tile_bytes = s.depth * shape.channel_bytes / s.span
    from_l1 = tile_bytes <= 0.8 * target.l1_bytes
    step = (
        _sparse_step(s, shape.split, from_l1)
        if s.sparse
        else max(_step(s.rows, s.vectors), s.vectors * s.lanes * 4 / L2_BYTES_PER_CYCLE * (0.3 if from_l1 else 1.0))
    )
    partial = 2 * s.rows * s.vectors if blocks > 1 or not isinstance(problem, ConvProblem) else 0
    products = entries * step + panels * blocks * (PANEL_OVERHEAD + partial)
    reload = shape.channels * shape.channel_bytes / s.span / L2_BYTES_PER_CYCLE
    tile = products + reload + shape.rows * shape.store_cycles / s.span
    packing = shape.channels * shape.pack_cycles * max(1.0, s.workers / shape.tiles)
    weights = _stream_cycles(entries * (4 * s.rows + 2), target)
    parts = min(s.workers, target.cores)
    return max(shape.tiles * (tile * s.span + packing) / parts, weights * s.span * shape.tiles / parts)


def _sparse_step(s: ColumnSchedule, split: float, from_l1: bool) -> float:
    """Cycles of one stored column; a load that crosses cache lines counts twice, one from L2 three times."""
    fmas = s.rows * s.vectors
    loads = s.vectors * (1 + split) * (1 if from_l1 else 2.5) + s.rows
    latency = LATENCY * 0.75 if fmas < 6 else 0
    return max(
        fmas / 2, loads / 2, (fmas * (1 if s.rows > 1 else 1.3) + s.rows + s.vectors * (s.rows > 1) + 3) / 5, latency
    )


@dataclass(frozen=True)
class _Shape:
    """A problem as the column kernel sees it; cycles are for one group of tiles."""

    rows: int
    channels: int
    taps: int
    tiles: int
    channel_bytes: int
    split: float
    pack_cycles: float
    store_cycles: float


def _shape(problem: Problem, s: ColumnSchedule) -> _Shape:
    span = s.span * s.vectors * s.lanes
    vectors = s.span * s.vectors
    if isinstance(problem, LinearProblem):
        tiles = -(-(problem.tokens or UNKNOWN_TOKENS) // span)
        rows = -(-problem.out_features // s.lanes) * s.lanes
        return _Shape(rows, problem.in_features, 1, tiles, span * 4, 0.0, 6.0 * vectors, 10.0 * vectors)
    flat = flatten(problem)
    g = geometry(flat, s)
    planes = len(g.row_shifts) * len(g.column_shifts)
    segments = g.plane / g.pitch + 1
    copies = g.plane / s.lanes + segments * 0.5
    pack = planes * (copies * 2 + segments * 8 if flat.stride[1] == 1 else g.plane * 1.5 + segments * 8)
    stores = vectors * 1.5 if g.pitch == flat.out_width else vectors * 3 + (span / g.pitch + s.span) * 8
    aligned = s.expand or flat.taps == 1
    split = 0.0 if aligned else s.lanes / 16 * (0.9 if g.pitch % s.lanes else 1 - 1 / flat.kernel[1])
    tiles = (problem.batch or 1) * problem.groups * -(-g.columns // span)
    return _Shape(
        rows=problem.out_channels // problem.groups,
        channels=problem.in_channels // problem.groups,
        taps=problem.taps,
        tiles=tiles,
        channel_bytes=g.channel * 4,
        split=split,
        pack_cycles=pack,
        store_cycles=stores,
    )

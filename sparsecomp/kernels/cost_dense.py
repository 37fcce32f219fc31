"""What the dense kernels cost, in cycles; and the words that all cost models share. See ``cost``."""

from collections.abc import Sequence
from itertools import accumulate, pairwise

from sparsecomp.kernels.geometry import between_sets, last_vectors, tile_vectors
from sparsecomp.kernels.problem import ConvProblem, LinearProblem
from sparsecomp.kernels.schedule import (
    ChannelSchedule,
    FeatureSchedule,
    StripSchedule,
    WinogradSchedule,
    WinogradTileSchedule,
)
from sparsecomp.targets.base import Target

LATENCY = 4
L2_BYTES_PER_CYCLE = 32
KEPT = 1 << 20  # bytes of weights that the L3 cache keeps from one chunk to the next, whoever else uses it


def scalar(target: Target) -> float:
    """What a cycle that no vector takes part in counts, in cycles of a core that starts two vector FMAs in each.

    Half where a core starts one: its vectors take twice as long. Waits that FMAs may hide count half again.
    """
    return target.fma_units / 2


def feature_cycles(problem: LinearProblem, s: FeatureSchedule, target: Target) -> float:
    """Cycles of the dense linear kernel, on all cores."""
    tokens = problem.judged
    panel = s.vectors * s.lanes
    panels = -(-problem.out_features // panel)
    full, rest = divmod(tokens, s.tokens)
    step = full * step_cycles(s.tokens, s.vectors, target) + (step_cycles(rest, s.vectors, target) if rest else 0)
    # Tokens whose rows of x are a multiple of 4 KiB apart share the sets of the L1 cache, among them and with weights.
    if s.tokens * between_sets(problem.in_features) > 0.6 * target.l1_bytes:
        step += full * s.tokens * 0.5 * scalar(target)
    blocks = -(-problem.in_features // s.depth)
    # Sums that wait in y for the next block often leave the L1 cache: tokens share its sets.
    stores = tokens * s.vectors * panels * (2 + 12 * (blocks - 1))
    # A panel that leaves no room for x in the L2 cache is fetched for each tile anew; x itself comes in order.
    fetched = (full + bool(rest)) * problem.in_features * panels if panel * s.depth * 8 > target.l2_bytes else 0
    again = stream_cycles(panel * 4 * fetched, target, 2) if fetched else 0.0
    compute = (step * problem.in_features * panels + stores + again) / s.workers
    weights = problem.in_features * panels * panel * 4
    fetch = stream_cycles(weights, target)
    # Weights are prefetched while those before them are used; for the first of each worker it waits.
    first = fetch * min(s.depth, problem.in_features) / (problem.in_features * panels)
    fetch /= min(s.workers, target.cores)
    return max(compute + first, fetch) + 0.2 * min(compute, fetch)  # neither hides the other altogether


def step_cycles(rows: int, vectors: int, target: Target, split: float = 0.0) -> float:
    """Cycles of one column of a register tile: as many as its FMAs, its loads, its latency or its decoding take."""
    fmas, each = rows * vectors, scalar(target)
    loads = rows * each + vectors * (1 + split)
    return max(fmas / 2, loads / 2, LATENCY * each, (fmas + vectors + 3) / 5 * each) + 0.08 * loads * each


def stream_cycles(nbytes: float, target: Target, least: int = 1) -> float:
    """Cycles to read something once from where it fits, but no nearer than cache level ``least`` (counted from 0)."""
    cycle = 4 * target.lanes / target.flops
    level = 1 if nbytes < target.l2_bytes * 3 / 4 else 2 if nbytes < target.l3_bytes / 2 else 3
    return nbytes / target.bytes_per_s[max(level, least)] / cycle


def channel_cycles(problem: ConvProblem, s: ChannelSchedule, target: Target) -> float:
    """Cycles of the dense convolution kernel, on all cores."""
    p = problem
    panel = s.vectors * s.lanes
    rows, channels = p.out_channels // p.groups, p.in_channels // p.groups
    panels, blocks = -(-rows // panel), -(-channels // s.depth)
    full, rest = divmod(p.out_width, s.pixels)
    each = scalar(target)
    stream = 0.15 * s.vectors * s.lanes * 4 / L2_BYTES_PER_CYCLE * each**2  # weights come from the L2 cache
    tile = step_cycles(s.pixels, s.vectors, target)
    serves = (s.chunk if blocks > 1 else p.out_height) * (full + bool(rest))  # tiles that a block's weights serve
    stream += (-(-s.vectors // serves) - 1) * each  # those that come next are prefetched in as many steps
    step = full * (tile + stream) + (step_cycles(rest, s.vectors, target) + stream if rest else 0)
    # Each channel's pixels come from a plane of its own; hardware prefetchers follow strides of up to 2 KiB, and beyond
    # that the L2 cache is waited for, unless the tile keeps the core busy for as long or the few lines stay in L1.
    far = (p.height + p.padding[0]) * p.width * 4 > 2048 and channels * p.kernel[0] > 32
    wait = max(1.0, 24 - tile / each) if far else 1.0
    step += (full + bool(rest)) * wait / p.kernel[1] * each**2
    leave = min(12, s.depth)  # the end of a short loop is foreseen
    sums = p.out_width * s.vectors * (3 * blocks - 2) + blocks * (full + bool(rest)) * p.taps * leave * each
    row = step * channels * p.taps + sums + p.out_width * s.vectors * 12
    units = (p.batch or 1) * p.groups * panels * -(-p.out_height // s.chunk)
    longest = -(-units // s.workers) * s.chunk * row
    weights = stream_cycles(p.groups * panels * panel * channels * p.taps * 4, target, 2)
    padded = (p.batch or 1) * p.in_channels * (p.height + p.padding[0] + p.padding[1])
    copy = padded * (p.width / s.lanes * 3 + 12) if any(p.padding) else 0.0
    parts = min(s.workers, target.cores)
    return max(longest, weights / parts) + copy / parts  # weights are prefetched while others are used


def strip_cycles(problem: ConvProblem, s: StripSchedule, target: Target) -> float:
    """Cycles of the dense convolution kernel that packs nothing, on all cores."""
    p, each = problem, scalar(target)
    panels, strips = -(-p.out_channels // s.rows), -(-p.out_width // (s.vectors * s.lanes))
    step = p.kernel[1] * step_cycles(s.rows, s.vectors, target)
    # With stride 2 vectors are shuffled. The factors are for what the column kernel and Winograd take less than said.
    step = 1.1 * step + 0.9 * s.vectors * each**2 if p.stride[1] > 1 else 1.12 * step
    tile = p.in_channels * p.kernel[0] * step + 1.5 * s.rows * s.vectors * each
    rows = 4 * p.in_channels * p.kernel[0] * p.width  # of the image, which each panel reads
    beyond = min(1.0, max(0.0, 2 * rows / target.l1_bytes - 1))
    row = strips * tile + beyond * rows / L2_BYTES_PER_CYCLE * each
    return -(-(p.batch or 1) * p.out_height // s.workers) * panels * row


def winograd_cycles(problem: ConvProblem, s: WinogradSchedule, target: Target) -> float:
    """Cycles of Winograd's algorithm with vectors of channels, on all cores."""
    p = problem
    size, panels = s.outputs + 2, -(-p.out_channels // s.panel)
    down, across = -(-p.out_height // s.outputs), -(-p.out_width // s.outputs)
    chunks = -(-(p.batch or 1) * down // s.rows)
    full, rest = divmod(s.rows * across, s.tiles)
    tiles = [s.tiles] * full + [rest] * bool(rest)

    def panel(vectors: int) -> float:
        step = full * step_cycles(s.tiles, vectors, target) + (step_cycles(rest, vectors, target) if rest else 0)
        sums = (full + bool(rest)) * 12 * scalar(target) + s.rows * across * vectors
        return step * p.in_channels + sums

    # A vector of a transform is loaded, takes part in some sums, and is stored; reading and storing turn it as well.
    each = 0.9 * size + 3
    read = size * p.width * 2.5 + p.width * each + across * size * each
    write = across * (size + s.outputs) * each + s.outputs * p.out_width * 4
    return _winograd(
        problem,
        s,
        target,
        products=size**2 * ((panels - 1) * panel(s.vectors) + panel(last_vectors(p.out_channels, s))),
        inputs=s.rows * -(-p.in_channels // s.lanes) * read,
        outputs=s.rows * -(-p.out_channels // s.lanes) * write,
        chunks=chunks,
        parts=tiles if s.divided else [s.vectors] * (panels - 1) + [last_vectors(p.out_channels, s)],
    )


def winograd_tile_cycles(problem: ConvProblem, s: WinogradTileSchedule, target: Target) -> float:
    """Cycles of Winograd's algorithm with vectors of tiles, on all cores."""
    p = problem
    size, panels = s.outputs + 2, -(-p.out_channels // s.panel)
    down, across = -(-p.out_height // s.outputs), -(-p.out_width // s.outputs)
    chunks = -(-(p.batch or 1) * down // s.rows)
    vectors = tile_vectors(s.rows, across, s.lanes)
    full, rest = divmod(vectors, s.vectors)
    step = full * step_cycles(s.panel, s.vectors, target) + (step_cycles(s.panel, rest, target) if rest else 0)
    sums = (full + bool(rest)) * 12 * scalar(target) + s.panel * vectors
    each, strips = 0.9 * size + 3, -(-across // s.lanes)
    deal = 1.25 * s.outputs  # pixels to tiles or back
    read = -(-p.width // s.lanes) * (each + 0.5 * size) + strips * size * (each + deal)
    write = strips * (size * each + s.outputs * (each + deal)) + s.outputs * -(-p.out_width // s.lanes) * 3
    return _winograd(
        problem,
        s,
        target,
        products=panels * size**2 * (step * p.in_channels + sums),
        inputs=s.rows * p.in_channels * read,
        outputs=s.rows * p.out_channels * write,
        chunks=chunks,
        parts=[1] * panels,
    )


def _winograd(
    problem: ConvProblem,
    s: WinogradSchedule | WinogradTileSchedule,
    target: Target,
    *,
    products: float,
    inputs: float,
    outputs: float,
    chunks: int,
    parts: Sequence[int],
) -> float:
    """Cycles on all cores from those of one chunk on one, of which workers that share it have parts of these sizes."""
    weights = 4 * (s.outputs + 2) ** 2 * problem.in_channels * -(-problem.out_channels // s.panel) * s.panel
    # They are more than the caches keep from one call to the next, come anew for each chunk where the L2 cache does not
    # keep them, and are prefetched while products are made. All workers are at their first chunk at the same time.
    divided = isinstance(s, WinogradSchedule) and s.divided
    first = min(chunks, s.workers)
    again = (chunks - first) * stream_cycles(weights, target, 2 if weights < KEPT else 3)
    anew = (first - 1) * stream_cycles(weights, target, 3) + again
    fetch = stream_cycles(weights, target, 3) + (anew if weights > target.l2_bytes / 2 else 0.0)
    readers = 1 if divided else min(s.workers, target.cores)  # who share them
    begun, finished = winograd_shares(chunks, parts, s.workers)
    transformed = finished + 1 / s.rows if divided else begun  # workers that share a row both transform its inputs
    multiplied = max(finished * products, fetch / readers)
    return multiplied + transformed * (inputs + _leaving_l2(problem, s, target)) + finished * outputs


def _leaving_l2(problem: ConvProblem, s: WinogradSchedule | WinogradTileSchedule, target: Target) -> float:
    """Cycles that the transforms of a chunk wait for where they are more than a part of the L2 cache.

    Those by tiles are written to as many places as there are positions and channels: 19 to 19 channels at 56 x 56 took
    112 us in chunks of 7 rows of tiles, 87 in chunks of one (Zen 3).
    """
    group, ways = (s.group, 2.0) if isinstance(s, WinogradTileSchedule) else (1, 1.0)
    tiles = s.rows * -(-problem.out_width // s.outputs)
    held = 4 * (s.outputs + 2) ** 2 * tiles * (problem.in_channels + group * s.panel)
    return min(2.0, max(0.0, held / target.l2_bytes - 0.3)) * ways * held / L2_BYTES_PER_CYCLE * scalar(target)


def winograd_shares(chunks: int, parts: Sequence[int], workers: int) -> tuple[int, float]:
    """The most chunks that one worker begins, and that one finishes; see ``winograd.Winograd.build``.

    Workers that share a chunk have parts of their own, of these sizes: panels, or tiles.
    """
    ends = [0, *accumulate(parts)]

    def reached(unit: int) -> float:
        return unit // workers + ends[unit % workers * len(parts) // workers] / ends[-1]

    starts = [worker * chunks for worker in range(workers + 1)]
    shares = list(pairwise(starts))
    begun = max(-(-end // workers) - begin // workers for begin, end in shares)
    return begun, max(reached(end) - reached(begin) for begin, end in shares)

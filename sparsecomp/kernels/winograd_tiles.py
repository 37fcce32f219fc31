"""Winograd's algorithm with vectors of tiles: see ``winograd``.

A lane of a vector belongs to a tile of a row of tiles, so that any number of channels is computed without waste, and no
square of pixels and channels is turned: the pixels of a row are dealt out to their tiles by shuffles. Where a row has
few tiles, those of several rows are neighbours in the products.
"""

from collections.abc import Callable
from itertools import chain, product
from typing import NamedTuple

import tvm.tirx.script.builder.ir as T
from tvm import tirx

from sparsecomp.kernels.emit import (
    CACHE_FLOATS,
    Expr,
    below,
    let,
    load,
    local,
    prefetch,
    prefetch_share,
    ramp,
    scratch,
    shuffle,
    splat,
    spread,
    store,
)
from sparsecomp.kernels.epilogue import is_long, rows_at_once
from sparsecomp.kernels.geometry import strip_of, tile_reach, tile_vectors
from sparsecomp.kernels.problem import ConvProblem
from sparsecomp.kernels.schedule import WinogradTileSchedule
from sparsecomp.kernels.winograd import Winograd
from sparsecomp.kernels.winograd_transforms import from_points, to_points

BLOCK = 4  # lanes: what crosses 128 bits takes a second, slow instruction
FAR = 1 << 19  # values of an input that the nearer caches do not keep: 2 MiB


class _Strip(NamedTuple):
    """Tiles of a row that are transformed at once.

    Attributes:
        first: the first of them.
        width: lanes of a vector that holds one pixel of each.
        block: within so many lanes pixels are dealt out to tiles. Small blocks take less time, and have the tiles in
            another order: where the last ones do not exist, all lanes are one block.
    """

    first: Expr
    width: int
    block: int


class WinogradTiles(Winograd):
    """The kernel.

    Attributes:
        coming: where a plane has the rows that the next chunk reads and this one does not: image, row.
    """

    coming: tuple[Expr, Expr]

    def __init__(self, problem: ConvProblem, schedule: WinogradTileSchedule) -> None:
        super().__init__(problem, schedule)
        self.schedule = schedule
        p, lanes = problem, self.lanes
        # Strips may end beyond their row of tiles; the next row overwrites that.
        self.vectors = tile_vectors(self.chunk, self.across, lanes)
        self.filled = tile_reach(self.chunk, self.across, lanes) == self.vectors * lanes
        self.stride = self.vectors * lanes if self.vectors == schedule.vectors else spread(self.vectors * lanes)
        self.input_size = spread(p.in_channels * self.stride)
        self.product_size = spread(schedule.group * self.panel * self.stride)
        self.out_line = tile_reach(1, self.across, lanes) * self.outputs
        self.line = max(p.padding[2] + max(p.width, lanes), self.out_line + lanes)

    def allocate(self) -> None:
        """What lies outside of the image, left and right, stays zero in ``lines``."""
        p, lanes = self.problem, self.lanes
        self.lines = scratch("lines", self.size * self.line)
        self.inputs = scratch("inputs", self.positions * self.input_size)
        self.products = scratch("products", self.positions * self.product_size)
        self.half = scratch("half", self.outputs * self.size * lanes)
        self.pixels = scratch("pixels", self.outputs * max(self.out_line, lanes))
        with T.serial(0, self.size * self.line) as i:
            store(self.lines, splat(0.0, 1), i)
        if not self.filled:  # what no tile fills is multiplied all the same, and must not be slow numbers
            with T.serial(0, self.positions) as position, T.serial(0, p.in_channels) as channel:
                last = position * self.input_size + channel * self.stride + (self.vectors - 1) * lanes
                store(self.inputs, splat(0.0, lanes), ramp(last, lanes))

    def transform_inputs(self, image: Expr, down: Expr, row: Expr) -> None:
        """One channel after the other: from above to below where pixels are neighbours, then across by tiles."""
        with T.serial(0, self.problem.in_channels) as channel:
            top = let("top", down * self.outputs - self.problem.padding[0])
            with T.serial(0, -(-self.problem.width // self.lanes)) as block:
                self._down(image, channel, top, block)
            place = channel * self.stride + row * self.across
            self._each_strip(lambda strip: self._across(strip, place))

    def _each_strip(self, body: Callable[[_Strip], None]) -> None:
        """Run the body for the tiles of a row: vectors, and what is left."""
        full, rest = divmod(self.across, self.lanes)
        if full:
            with T.serial(0, full) as strip:
                body(_Strip(strip * self.lanes, self.lanes, min(BLOCK, self.lanes)))
        if rest:
            width = strip_of(rest, self.lanes)
            body(_Strip(full * self.lanes, width, min(BLOCK, width) if rest == width else width))

    def _down(self, image: Expr, channel: Expr, top: Expr, block: Expr) -> None:
        """B^T d of a vector of neighbouring pixels; a row outside of the image is zero."""
        p, lanes = self.problem, self.lanes
        # The last vector begins early rather than have lanes off.
        column = let("column", tirx.min(block * lanes, max(0, p.width - lanes)))
        mask = None if p.width >= lanes else below(column, p.width, lanes)
        rows = []
        for i in range(self.size):
            source = let("source", tirx.min(tirx.max(top + i, 0), p.height - 1))
            pixels = let("pixels", load(self.x, mask, lanes, image, channel, source, column))
            prefetch(self.x, image, channel + 1, source, column)  # another plane: hardware does not foresee it
            rows.append(let("row", tirx.Select(source == top + i, pixels, splat(0.0, lanes))))
        for i, value in enumerate(to_points(self.matrices.inputs, rows, lanes)):
            store(self.lines, value, ramp(i * self.line + p.padding[2] + column, lanes))

    def _across(self, strip: _Strip, place: Expr) -> None:
        """(B^T d) B of all rows of a strip of tiles."""
        width, outputs = strip.width, self.outputs
        with T.serial(0, self.size) as i:
            start = i * self.line + strip.first * outputs
            # The last two pixels of a tile are the first two of the next.
            pixels = [*self._dealt(strip, start), *self._dealt(strip, start + outputs)[:2]]
            for j, value in enumerate(to_points(self.matrices.inputs, pixels, width)):
                at = (i * self.size + j) * self.input_size + place + strip.first
                store(self.inputs, value, ramp(at, width))

    def _dealt(self, strip: _Strip, start: Expr) -> list[Expr]:
        """The first pixels of the tiles of a strip, the second ones, ..., where tiles begin from ``start`` on."""
        width, vectors = strip.width, range(self.outputs)
        line = [let("pixels", load(self.lines, None, width, start + v * width)) for v in vectors]
        return unweave(line, width, strip.block)

    def multiply(self, first_row: Expr, begin: Expr, end: Expr) -> None:
        """Groups of panels, for each of which the inputs of a position are read again."""
        group = self.schedule.group
        following = let("following", tirx.min(first_row + self.chunk, self.rows - 1))
        self.coming = (following // self.down, following % self.down * self.outputs + 2 - self.problem.padding[0])
        with T.serial(0, (end - begin + group - 1) // group) as index:
            first = let("first", begin + index * group)
            count = let("count", tirx.min(group, end - first))
            with T.serial(0, self.positions) as position:
                self._products(position, first, count)
            channels = let("channels", tirx.min(count * self.panel, self.problem.out_channels - first * self.panel))
            rows = let("rows", tirx.min(self.chunk, self.rows - first_row))
            with T.serial(0, channels) as channel, T.serial(0, rows) as row:
                at = let("at", first_row + row)
                place = channel * self.stride + row * self.across
                self._transform_outputs(at // self.down, at % self.down, first * self.panel + channel, place)

    def _products(self, position: Expr, first: Expr, count: Expr) -> None:
        """What one position of all tiles of the chunk contributes to the panels of a group.

        One loop over panels and tiles, since LLVM writes out a loop over a few tiles, and spills their sums.
        """
        full, rest = divmod(self.vectors, self.schedule.vectors)
        if full:
            with T.serial(0, count * full) as unit:
                self._product(position, first, unit // full, unit % full, self.schedule.vectors)
        if rest:
            with T.serial(0, count) as index:
                self._product(position, first, index, full, rest)

    def _product(self, position: Expr, begin: Expr, index: Expr, tile: Expr, vectors: int) -> None:
        """A register tile: the channels of a panel, the ``index``-th of its group, times vectors of tiles."""
        lanes, channels, panel_size = self.lanes, self.problem.in_channels, self.panel
        acc = local("acc", panel_size * vectors * lanes)
        places = [[ramp((r * vectors + v) * lanes, lanes) for v in range(vectors)] for r in range(panel_size)]
        for place in chain(*places):
            store(acc, splat(0.0, lanes), place)
        first = let("first", tile * self.schedule.vectors * lanes)
        start = let("start", position * self.input_size + first)
        step = let("step", (begin + index) * self.positions + position)
        line = let("line", step * channels)
        self._expect(step, tile)
        with T.serial(0, channels) as k:
            prefetch_share(self.values, (line + channels) * panel_size, k, panel_size)
            tiles = [
                let("x", load(self.inputs, None, lanes, start + k * self.stride + v * lanes)) for v in range(vectors)
            ]
            for r in range(panel_size):
                weight = let("w", splat(self.values[(line + k) * panel_size + r], lanes))
                for v, x in enumerate(tiles):
                    store(acc, acc[places[r][v]] + weight * x, places[r][v])
        target = let("target", position * self.product_size + index * panel_size * self.stride + first)
        for r in range(panel_size):
            for v in range(vectors):
                store(self.products, acc[places[r][v]], ramp(target + r * self.stride + v * lanes, lanes))

    def _expect(self, step: Expr, tile: Expr) -> None:
        """Prefetch a share of what the next chunk reads: products wait for no memory, the transform of inputs does.

        38 to 19 channels at 256 x 256, 10 MiB, took 9 % less (Zen 3); where the L3 cache has all, this costs up to 5 %.
        """
        p = self.problem
        if (p.batch or 1) * p.in_channels * p.height * p.width < FAR:
            return
        parts = -(-self.vectors // self.schedule.vectors)
        lines = -(-self.chunk * self.outputs * p.width // CACHE_FLOATS)  # of a plane
        share = -(-p.in_channels * lines // (self.panels * self.positions * parts))
        stretches = -(-lines // share)
        stretch = let("stretch", step * parts + tile)
        with T.If(stretch < p.in_channels * stretches), T.Then():
            image, row = self.coming
            start = let("start", stretch % stretches * (share * CACHE_FLOATS))
            for line in range(share):
                prefetch(self.x, image, stretch // stretches, row, start + line * CACHE_FLOATS, level=2)

    def _transform_outputs(self, image: Expr, down: Expr, channel: Expr, place: Expr) -> None:
        """A^T M A of one row of tiles of one channel."""
        p, outputs = self.problem, self.outputs
        self._each_strip(lambda strip: self._back(strip, place))
        complete = let("complete", tirx.min(outputs, p.out_height - down * outputs))
        wide = 2 if is_long(p.epilogue) and p.out_width >= 2 * self.lanes else 1
        width, together = wide * self.lanes, min(outputs, rows_at_once(p.epilogue, wide))
        with T.serial(0, (complete + together - 1) // together) as rows, T.serial(0, -(-p.out_width // width)) as block:
            column = let("column", tirx.min(block * width, max(0, p.out_width - width)))
            mask = None if p.out_width >= width else below(column, p.out_width, self.lanes)
            pieces = []
            for i, v in product(range(together), range(0, width, self.lanes)):
                line = let("line", rows * together + i)
                exists = None if i == 0 or p.out_height % outputs == 0 else line < complete
                pixel = let("pixel", (down * outputs + tirx.min(line, complete - 1)) * p.out_width + column + v)
                sums = load(self.pixels, None, self.lanes, line * self.out_line + column + v)
                prefetch(self.output.y, image, channel + 1, pixel, write=True)
                pieces.append(self.output.piece(sums, (image, channel, pixel), mask, exists))
            self.output.put(pieces)

    def _back(self, strip: _Strip, place: Expr) -> None:
        """The pixels of a strip of tiles."""
        size, width, outputs = self.size, strip.width, self.outputs
        with T.serial(0, size) as j:
            rows = [(i * size + j) * self.product_size + place + strip.first for i in range(size)]
            values = [let("product", load(self.products, None, width, row)) for row in rows]
            for i, value in enumerate(from_points(self.matrices.outputs, values, width)):
                store(self.half, value, ramp((i * size + j) * width, width))
        with T.serial(0, outputs) as i:
            values = [let("half", load(self.half, None, width, (i * size + j) * width)) for j in range(size)]
            at = i * self.out_line + strip.first * outputs
            for v, value in enumerate(weave(from_points(self.matrices.outputs, values, width), width, strip.block)):
                store(self.pixels, value, ramp(at + v * width, width))


def unweave(vectors: list[Expr], lanes: int, block: int) -> list[Expr]:
    """Every n-th lane of n vectors, n a power of two, within each block: from the first lane on, the second, ..."""
    if len(vectors) == 1:
        return vectors
    pairs = [vectors[i : i + 2] for i in range(0, len(vectors), 2)]

    def part(side: int) -> list[Expr]:
        own = range(side, block, 2)
        places = [v * lanes + start + lane for start in range(0, lanes, block) for v in (0, 1) for lane in own]
        return unweave([shuffle(pair, places) for pair in pairs], lanes, block)

    return [vector for both in zip(part(0), part(1), strict=True) for vector in both]


def weave(vectors: list[Expr], lanes: int, block: int) -> list[Expr]:
    """The inverse of ``unweave``."""
    if len(vectors) == 1:
        return vectors
    pairs = zip(weave(vectors[::2], lanes, block), weave(vectors[1::2], lanes, block), strict=True)
    half = block // 2
    order = [
        [v * lanes + start + lane for start in range(first, lanes, block) for lane in range(half) for v in (0, 1)]
        for first in (0, half)
    ]
    return [shuffle(list(pair), places) for pair in pairs for places in order]

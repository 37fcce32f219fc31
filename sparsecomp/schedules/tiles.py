"""The register tile of a matrix product, shared by matmul and attention."""

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx

from sparsecomp.schedules.loops import (
    Dim,
    choose,
    index,
    load,
    local,
    loop,
    sequence,
    store,
    unrolled,
    vector,
    with_buffers,
)
from sparsecomp.schedules.rewrite import Expr, Stmt
from sparsecomp.targets.base import Target


@dataclass(frozen=True)
class Tile:
    """``rows`` by ``vectors * lanes`` results held in registers."""

    rows: int
    vectors: int
    lanes: int

    @property
    def columns(self) -> int:
        """Results in a row."""
        return self.vectors * self.lanes


def tile_for(target: Target) -> Tile:
    """Three quarters of the vector registers for results; the rest hold operands."""
    return Tile(rows=6, vectors=4 if target.vector_registers >= 32 else 2, lanes=target.lanes)


def product(
    tile: Tile,
    depth: Dim,
    left: Callable[[int, Expr], Expr],
    right: Callable[[Expr, Expr], Expr],
    put: Callable[[int, Expr, Expr], Stmt],
) -> Stmt:
    """Sum over k of ``left(row, k) * right(k, column)``, given to ``put(row, column, sum)``, whose body is one vector.

    ``column`` runs over whole vectors, so ``right`` must be readable up to a multiple of the lanes.
    """
    sums = local(tile.rows * tile.columns, "sums")

    def each(body: Callable[[int, Expr, Expr], Stmt]) -> Stmt:
        def one(row: int, first: int) -> Stmt:
            return vector(
                tile.lanes,
                lambda lane: body(row, index(first) + lane, index(row * tile.columns + first) + lane),
            )

        return unrolled(tile.rows, lambda row: unrolled(tile.vectors, lambda part: one(row, part * tile.lanes)))

    def step(k: Expr) -> Stmt:
        return each(lambda row, column, at: store(sums, [at], load(sums, [at]) + left(row, k) * right(k, column)))

    clear = each(lambda row, column, at: store(sums, [at], tirx.const(0, "float32")))
    done = each(lambda row, column, at: put(row, column, load(sums, [at])))
    return with_buffers([sums], sequence([clear, loop(depth, step, name="k"), done]))


def row_tiles(tile: Tile, rows: Dim, body: Callable[[Tile, Expr], Stmt]) -> Stmt:
    """``body(tile, first_row)`` over all of ``rows``.

    A known number of rows that is no multiple of the tile's ends with a tile moved back, which repeats some rows; an
    unknown one with tiles of one row.
    """
    single, height = Tile(1, tile.vectors, tile.lanes), index(tile.rows)
    if not isinstance(rows, int):
        whole = rows // height
        rest = loop(rows % height, lambda r: body(single, whole * height + r), name="row")
        return sequence([loop(whole, lambda t: body(tile, t * height), name="tile"), rest])
    if rows < tile.rows:
        return body(Tile(rows, tile.vectors, tile.lanes), index(0))
    return loop(-(-rows // tile.rows), lambda t: body(tile, tirx.min(t * height, index(rows - tile.rows))), name="tile")


@dataclass(frozen=True)
class Panels:
    """``columns`` cut into panels as wide as ``tile``, and narrower ones for the rest."""

    tile: Tile
    columns: Dim

    @property
    def whole(self) -> Expr:
        """Panels of full width."""
        return index(self.columns) // index(self.tile.columns)

    @property
    def narrow(self) -> Tile:
        """One panel for the rest where its width is known, else as many of one vector as it takes."""
        vectors = -(-(self.columns % self.tile.columns) // self.tile.lanes) if isinstance(self.columns, int) else 1
        return Tile(self.tile.rows, max(vectors, 1), self.tile.lanes)

    @property
    def count(self) -> Expr:
        """All panels."""
        rest = index(self.columns) % index(self.tile.columns)
        return self.whole + (rest + index(self.narrow.columns - 1)) // index(self.narrow.columns)

    def at(self, panel: Expr, body: Callable[[Tile, Expr, bool], Stmt]) -> Stmt:
        """``body(tile, first_column, fits)`` of one panel; ``fits`` where it surely does not pass the last column."""
        first = self.whole * index(self.tile.columns) + (panel - self.whole) * index(self.narrow.columns)
        whole = body(self.tile, panel * index(self.tile.columns), True)
        if isinstance(self.columns, int) and self.columns % self.tile.columns == 0:
            return whole
        fits = isinstance(self.columns, int) and self.columns % self.tile.lanes == 0
        return choose(panel < self.whole, whole, body(self.narrow, first, fits))

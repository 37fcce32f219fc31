"""The register tile of a matrix product, shared by matmul and attention."""

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx

from sparsecomp.schedules.loops import Dim, choose, index, load, local, loop, sequence, store, unrolled, vector, with_buffers
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
        return self.vectors * self.lanes

    def narrow(self, vectors: int) -> "Tile":
        return Tile(self.rows, vectors, self.lanes)


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
        def one(row: int, part: int) -> Stmt:
            return vector(
                tile.lanes,
                lambda lane: body(row, index(part * tile.lanes) + lane, index(row * tile.columns + part * tile.lanes) + lane),
            )

        return unrolled(tile.rows, lambda row: unrolled(tile.vectors, lambda part: one(row, part)))

    def step(k: Expr) -> Stmt:
        return each(lambda row, column, at: store(sums, [at], load(sums, [at]) + left(row, k) * right(k, column)))

    clear = each(lambda row, column, at: store(sums, [at], tirx.const(0, "float32")))
    done = each(lambda row, column, at: put(row, column, load(sums, [at])))
    return with_buffers([sums], sequence([clear, loop(depth, step, name="k"), done]))


def row_tiles(tile: Tile, rows: Dim, body: Callable[[Tile, Expr], Stmt]) -> Stmt:
    """``body(tile, first_row)`` over all of ``rows``; the last tile is moved back to end with them, and so repeats some."""
    full = (index(rows) + index(tile.rows - 1)) // index(tile.rows)

    def moved(t: Expr) -> Stmt:
        return body(tile, tirx.min(t * index(tile.rows), index(rows) - index(tile.rows)))

    single = Tile(1, tile.vectors, tile.lanes)
    return choose(index(rows) >= index(tile.rows), loop(full, moved, name="tile"), loop(rows, lambda r: body(single, r)))


def panel_widths(tile: Tile, columns: Dim, panel: Expr, body: Callable[[Tile], Stmt]) -> Stmt:
    """``body`` with a tile just wide enough for the columns that are left at ``panel``."""
    left = index(columns) - panel * index(tile.columns)
    known = columns % tile.columns if isinstance(columns, int) else None
    if known == 0:
        return body(tile)
    widths = range(1, tile.vectors) if known is None else [-(-known // tile.lanes)]
    result = body(tile)
    for vectors in reversed([v for v in widths if v < tile.vectors]):
        result = choose(left <= index(vectors * tile.lanes), body(tile.narrow(vectors)), result)
    return result

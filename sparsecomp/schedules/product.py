"""Matrix products of two activations as loops: C[b, m, n] = sum over k of A[b, m, k] B[b, k, n]."""

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx

from sparsecomp.schedules.loops import (
    Dim,
    independent,
    index,
    load,
    local,
    loop,
    scratch,
    sequence,
    store,
    unrolled,
    with_buffers,
)
from sparsecomp.schedules.rewrite import Expr, Stmt
from sparsecomp.schedules.tiles import Panels, Tile, product, row_tiles

# Rows that share one packing of a panel: enough to make packing cheap, few enough to give every core some.
ROWS = 240


@dataclass(frozen=True)
class Product:
    """The problem: sizes, and how to read and write an element.

    Attributes:
        batch: how many products there are.
        left: A of (batch, row, k).
        right: B of (batch, k, column).
        put: writes a value to C of (batch, row, column).
    """

    batch: Dim
    rows: Dim
    columns: Dim
    depth: Dim
    left: Callable[[Expr, Expr, Expr], Expr]
    right: Callable[[Expr, Expr, Expr], Expr]
    put: Callable[[Expr, Expr, Expr, Expr], Stmt]


def _pack(problem: Product, tile: Tile, panel: tirx.Buffer, batch: Expr, start: Expr, fits: bool) -> Stmt:
    """panel[k, column] = B[k, start + column]; past the end the last column again."""
    last = index(problem.columns) - index(1)

    def row(k: Expr) -> Stmt:
        def one(c: Expr) -> Stmt:
            column = start + c if fits else tirx.min(start + c, last)
            return store(panel, [k, c], problem.right(batch, k, column))

        return loop(tile.columns, one, name="column")

    return loop(problem.depth, row, name="k")


def _tile(problem: Product, tile: Tile, panel: tirx.Buffer, batch: Expr, row: Expr, start: Expr, fits: bool) -> Stmt:
    """Whole vectors go to C at once; a panel that passes the last column goes through a small buffer."""
    spill = local(tile.rows * tile.columns, "spill")

    def compute(put: Callable[[int, Expr, Expr], Stmt]) -> Stmt:
        return product(
            tile,
            problem.depth,
            lambda r, k: problem.left(batch, row + index(r), k),
            lambda k, column: load(panel, [k, column]),
            put,
        )

    if fits:
        return compute(lambda r, column, value: problem.put(batch, row + index(r), start + column, value))

    def from_spill(r: int) -> Stmt:
        left = tirx.min(index(problem.columns) - start, index(tile.columns))
        place = index(r * tile.columns)
        return loop(left, lambda c: problem.put(batch, row + index(r), start + c, load(spill, [place + c])))

    kept = compute(lambda r, column, value: store(spill, [index(r * tile.columns) + column], value))
    return with_buffers([spill], sequence([kept, unrolled(tile.rows, from_spill)]))


def product_nest(problem: Product, tile: Tile) -> Stmt:
    """All products: one task for a panel of columns and a chunk of rows; each packs its panel."""
    panels = Panels(tile, problem.columns)
    chunks = (index(problem.rows) + index(ROWS - 1)) // index(ROWS)

    def panel_task(wide: Tile, batch: Expr, start: Expr, first: Expr, fits: bool) -> Stmt:
        panel = scratch([problem.depth, wide.columns], "panel")
        rows: Dim = tirx.min(index(problem.rows) - first, index(ROWS))
        if isinstance(problem.rows, int) and problem.rows <= ROWS:
            rows = problem.rows
        tiles = row_tiles(wide, rows, lambda t, row: _tile(problem, t, panel, batch, first + row, start, fits))
        return with_buffers([panel], sequence([_pack(problem, wide, panel, batch, start, fits), tiles]))

    def task(t: Expr) -> Stmt:
        rest = t // panels.count
        batch, first = rest // chunks, rest % chunks * index(ROWS)
        return panels.at(t % panels.count, lambda w, start, fits: panel_task(w, batch, start, first, fits))

    return independent(index(problem.batch) * chunks * panels.count, task)

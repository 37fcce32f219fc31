"""Scaled dot product attention: softmax(Q K^T * scale + mask) V, one block of queries at a time.

The scores of a block are kept as [key, query], queries in the lanes of a vector: maximum, exponential and sum over the
keys then need no work across lanes, the product with K reads K as it lies, and only the queries, which are few, are
transposed. The score block stays in the L2 cache. Blocks of all heads are independent and run in parallel.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import tvm.tirx.script.builder.ir as T
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.tirx import Buffer

from sparsecomp.kernels.attention_operands import (
    AttentionSpec,
    Element,
    Expect,
    expect_head,
    expect_nothing,
    has_room,
    operands_of,
)
from sparsecomp.kernels.emit import let, splat, transpose
from sparsecomp.schedules.finish import finish
from sparsecomp.schedules.loops import (
    Dim,
    choose,
    function,
    independent,
    index,
    load,
    loop,
    scratch,
    sequence,
    store,
    vector,
    with_buffers,
)
from sparsecomp.schedules.math import exp_below_zero
from sparsecomp.schedules.rewrite import Expr, Stmt
from sparsecomp.schedules.tiles import Panels, Tile, product, row_tiles, tile_for
from sparsecomp.targets.base import Target

# Stands for minus infinity: far below any score, and finite, so that a row with every key masked gives no NaN.
MASKED = -1e30
# Rows of the result that are computed at a time; divides the queries of a block.
RESULT_ROWS = 4
RESULT_VECTORS = 3  # at least; more than in a tile of scores, since fewer rows leave registers


@dataclass(frozen=True)
class _Block:
    """One block of queries of one head: what it reads and writes."""

    spec: AttentionSpec
    tile: Tile
    query: Element
    key: Element
    value: Element
    mask: Buffer | None
    out: Buffer
    batch: Expr
    head: Expr
    first: Expr
    expect: Expect

    @property
    def keys(self) -> Dim:
        """Keys that any query of the block sees."""
        if not self.spec.causal:
            return self.spec.keys
        return tirx.min(index(self.spec.keys), self.first + index(self.tile.columns))


def _last_query(block: _Block, column: Expr) -> Expr:
    return tirx.min(block.first + column, index(block.spec.queries) - index(1))


def _transpose_queries(block: _Block, queries: Buffer) -> Stmt:
    """queries[d, column] = q[first + column, d] * scale, square by square; columns past the end repeat the last."""
    lanes, one = block.tile.lanes, index(1)
    depth, vectors, scale = index(block.spec.depth // lanes), index(block.tile.vectors), splat(block.spec.scale, lanes)
    with IRBuilder() as builder, T.serial(0, vectors) as v, T.serial(0, depth) as k:
        tokens = [_last_query(block, v * lanes + i) for i in range(lanes)]
        rows = [let("row", block.query(token, tirx.Ramp(k * lanes, one, lanes))) for token in tokens]
        for i, column in enumerate(transpose(rows, lanes)):
            T.buffer_store(queries, column * scale, [k * lanes + i, tirx.Ramp(v * lanes, one, lanes)])
    return builder.get()


def _masked(block: _Block, key: Expr, column: Expr, score: Expr) -> Expr:
    spec = block.spec
    if spec.causal:
        score = tirx.Select(key <= block.first + column, score, tirx.const(MASKED, "float32"))
    if block.mask is None or spec.mask is None:
        return score
    place = (block.batch, block.head, _last_query(block, column), key)
    at = [index(0) if isinstance(size, int) and size == 1 else i for size, i in zip(spec.mask, place, strict=True)]
    value = load(block.mask, at)
    if spec.mask_dtype == "bool":
        return tirx.Select(value, score, tirx.const(MASKED, "float32"))
    return tirx.max(score + value, tirx.const(MASKED, "float32"))


def _scores(block: _Block, queries: Buffer, scores: Buffer) -> Stmt:
    def tile_at(tile: Tile, first: Expr) -> Stmt:
        def key_value(row: int, d: Expr) -> Expr:
            return block.key(first + index(row), d)

        def put(row: int, column: Expr, value: Expr) -> Stmt:
            key = first + index(row)
            return store(scores, [key, column], _masked(block, key, column, value))

        found = product(tile, block.spec.depth, key_value, lambda d, column: load(queries, [d, column]), put)
        expected = [s for row in range(tile.rows) for s in block.expect(block.first, first + index(row))]
        return sequence([*expected, found])

    return row_tiles(block.tile, block.keys, tile_at)


def _softmax(block: _Block, scores: Buffer, top: Buffer, total: Buffer) -> Stmt:
    """Scores = exp(scores - maximum); total = 1 / their sum."""
    lanes = block.tile.lanes

    def part(p: Expr) -> Stmt:
        def over(body: Callable[[Expr, Expr], Stmt]) -> Stmt:
            return loop(
                block.keys, lambda key: vector(lanes, lambda lane: body(key, p * index(lanes) + lane)), name="key"
            )

        def start(column: Expr) -> Stmt:
            low = tirx.const(MASKED, "float32")
            return sequence([store(top, [column], low), store(total, [column], tirx.const(0, "float32"))])

        def maximum(key: Expr, column: Expr) -> Stmt:
            return store(top, [column], tirx.max(load(top, [column]), load(scores, [key, column])))

        def power(key: Expr, column: Expr) -> Stmt:
            return store(scores, [key, column], exp_below_zero(load(scores, [key, column]) - load(top, [column])))

        def add(key: Expr, column: Expr) -> Stmt:
            return store(total, [column], load(total, [column]) + load(scores, [key, column]))

        def invert(column: Expr) -> Stmt:
            return store(total, [column], tirx.const(1, "float32") / load(total, [column]))

        begin = vector(lanes, lambda lane: start(p * index(lanes) + lane))
        end = vector(lanes, lambda lane: invert(p * index(lanes) + lane))
        return sequence([begin, over(maximum), over(lambda k, c: sequence([power(k, c), add(k, c)])), end])

    return loop(block.tile.vectors, part, name="part")


def _result(block: _Block, scores: Buffer, total: Buffer) -> Stmt:
    spec, lanes = block.spec, block.tile.lanes
    wide = max(block.tile.columns, RESULT_VECTORS * lanes)

    def rows(first: Expr) -> Stmt:
        def columns(tile: Tile, start: int) -> Stmt:
            def put(row: int, column: Expr, value: Expr) -> Stmt:
                query = block.first + first + index(row)
                at = spec.place("out", block.batch, block.head, query, index(start) + column)
                return choose(
                    query < index(spec.queries), store(block.out, at, value * load(total, [first + index(row)]))
                )

            def value_at(key: Expr, column: Expr) -> Expr:
                return block.value(key, index(start) + column)

            return product(tile, block.keys, lambda row, key: load(scores, [key, first + index(row)]), value_at, put)

        starts = range(0, spec.depth, wide)
        return sequence([columns(Tile(RESULT_ROWS, min(wide, spec.depth - s) // lanes, lanes), s) for s in starts])

    return loop(block.tile.columns // RESULT_ROWS, lambda t: rows(t * index(RESULT_ROWS)), name="rows")


def _block(block: _Block) -> Stmt:
    wide = block.tile.columns
    queries = scratch([block.spec.depth, wide], "queries")
    scores = scratch([block.spec.keys, wide], "scores")
    top, total = scratch([wide], "top"), scratch([wide], "total")
    steps = [
        _transpose_queries(block, queries),
        _scores(block, queries, scores),
        _softmax(block, scores, top, total),
        _result(block, scores, total),
    ]
    return with_buffers([queries, scores, top, total], sequence(steps))


def build(spec: AttentionSpec, target: Target) -> tirx.PrimFunc:
    """The function (q, k, v[, mask], out) for ``spec``.

    The depth must be a multiple of the target's lanes.
    """
    queries = (spec.batch, spec.heads, spec.queries, spec.depth)
    keys = (spec.batch, spec.kv_heads, spec.keys, spec.depth)
    shapes = {"q": queries, "k": keys, "v": keys, "out": queries}
    buffers = {name: scratch(spec.place(name, *sizes), name) for name, sizes in shapes.items()}
    if spec.mask is not None:
        buffers["mask"] = scratch(spec.mask, "mask", spec.mask_dtype)
    # Heads that do not fall evenly on the cores are shared by them.
    shares = 1 if spec.heads % target.cores == 0 else target.cores

    panels = Panels(tile_for(target), spec.queries)
    room = has_room(spec, panels.tile, target)

    def task(t: Expr) -> Stmt:
        head, share = t // index(shares), t % index(shares)
        own = (panels.count - share + index(shares - 1)) // index(shares)

        def blocks(block: Callable[[Tile, Expr, bool], Stmt]) -> Stmt:
            return loop(own, lambda i: panels.at(i * index(shares) + share, block), name="block")

        expect = expect_head(spec, buffers, panels.tile, head + 1) if shares == 1 and room else expect_nothing
        return _head(spec, buffers, (head // index(spec.heads), head % index(spec.heads)), blocks, expect)

    body = independent(index(spec.batch) * index(spec.heads * shares), task)
    params = [buffers[name] for name in ("q", "k", "v", "mask", "out") if name in buffers]
    return finish(function(params, body, "attention"), target).with_attr("tir.is_scheduled", True)


def _head(
    spec: AttentionSpec,
    buffers: Mapping[str, Buffer],
    place: tuple[Expr, Expr],
    blocks: Callable[[Callable[[Tile, Expr, bool], Stmt]], Stmt],
    expect: Expect,
) -> Stmt:
    """Those blocks of one head that ``blocks`` runs over."""
    operands = operands_of(spec, buffers, *place)

    def block(tile: Tile, first: Expr, _: bool) -> Stmt:
        return _block(
            _Block(spec, tile, *operands.elements, buffers.get("mask"), buffers["out"], *place, first, expect)
        )

    return with_buffers(operands.buffers, sequence([*operands.copies, blocks(block)]))

"""Queries, keys and values of attention: where the numbers of a head are, and what brings them near in time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.tirx import Buffer

from sparsecomp.kernels.emit import CACHE_FLOATS
from sparsecomp.schedules.loops import Dim, choose, index, load, loop, prefetch, scratch, sequence, store
from sparsecomp.schedules.rewrite import Expr, Stmt
from sparsecomp.schedules.tiles import Tile
from sparsecomp.targets.base import Target


@dataclass(frozen=True)
class AttentionSpec:
    """The problem: q and the result [batch, heads, queries, depth], k and v [batch, kv_heads, keys, depth].

    Attributes:
        batch, queries, keys: sizes; integers or symbolic.
        mask: shape of the mask, each of its four sizes that of the scores or one; None for no mask.
        mask_dtype: ``"float32"`` for a mask to add, ``"bool"`` for one that is true where a key is seen.
        causal: whether query i sees only the keys up to i.
        token_major: which of ``"q"``, ``"k"``, ``"v"`` and ``"out"`` are [batch, tokens, heads, depth], as a linear
            layer makes and takes them.
    """

    batch: Dim
    heads: int
    kv_heads: int
    queries: Dim
    keys: Dim
    depth: int
    scale: float
    mask: tuple[Dim, Dim, Dim, Dim] | None = None
    mask_dtype: str = "float32"
    causal: bool = False
    token_major: tuple[str, ...] = ()

    def place(self, name: str, batch: Any, head: Any, token: Any, depth: Any) -> list[Any]:
        """Four numbers of q, k, v or the result, sizes or indices, in the order in which it is stored."""
        return [batch, token, head, depth] if name in self.token_major else [batch, head, token, depth]


Element = Callable[[Expr, Expr], Expr]
"""The number in a column of a token."""
Expect = Callable[[Expr, Expr], Sequence[Stmt]]
"""What prefetches, in the block of a query, something for a token."""


@dataclass(frozen=True)
class Operands:
    """What a head reads.

    Attributes:
        elements: numbers of its queries, keys and values.
        buffers, copies: what is copied before: strides of nearly a power of two leave most of the L1 cache unused.
    """

    elements: tuple[Element, Element, Element]
    buffers: tuple[Buffer, ...]
    copies: tuple[Stmt, ...]


def operands_of(spec: AttentionSpec, buffers: Mapping[str, Buffer], batch: Expr, head: Expr) -> Operands:
    """The operands of one head; keys and values that are not contiguous are copied, queries are transposed anyway."""
    kv_head = head // index(spec.heads // spec.kv_heads)

    def there(name: str, source: Expr) -> Element:
        return lambda token, d: load(buffers[name], spec.place(name, batch, source, token, d))

    elements = {"q": there("q", head), "k": there("k", kv_head), "v": there("v", kv_head)}
    kept, copies = [], []
    for name in ("k", "v"):
        if name in spec.token_major:
            kept.append(scratch([spec.keys, spec.depth], f"{name}_of_head"))
            copies.append(_copy(elements[name], kept[-1], spec))
            elements[name] = _within(kept[-1])
    return Operands((elements["q"], elements["k"], elements["v"]), tuple(kept), tuple(copies))


def _within(copy: Buffer) -> Element:
    return lambda token, d: load(copy, [token, d])


def _copy(element: Element, copy: Buffer, spec: AttentionSpec) -> Stmt:
    def line(token: Expr) -> Stmt:
        return loop(spec.depth, lambda d: store(copy, [token, d], element(token, d)), name="d")

    return loop(spec.keys, line, name="token")


def has_room(spec: AttentionSpec, tile: Tile, target: Target) -> bool:
    """Whether two heads stay in the L2 cache together, and one has blocks enough to ask for the other in."""
    if not isinstance(spec.queries, int) or not isinstance(spec.keys, int):
        return False
    head = 4 * spec.depth * (spec.queries + 2 * spec.keys)
    return spec.queries >= 3 * tile.columns and 2 * head <= 3 * target.l2_bytes // 4


def expect_nothing(_query: Expr, _token: Expr) -> Sequence[Stmt]:
    """Prefetches nothing."""
    return ()


def expect_head(spec: AttentionSpec, buffers: Mapping[str, Buffer], tile: Tile, head: Expr) -> Expect:
    """What prefetches a token of another head: of its keys in the first block of queries, of its values in the second.

    What is token-major the hardware does not see coming.
    """
    last = index(spec.batch) * index(spec.heads) - index(1)
    head = tirx.min(head, last)
    batch, own = head // index(spec.heads), head % index(spec.heads)

    def ask(name: str, token: Expr) -> Stmt:
        tokens, source = (spec.queries, own) if name == "q" else (spec.keys, own // index(spec.heads // spec.kv_heads))
        row = tirx.min(token, index(tokens) - index(1))
        lines = range(0, spec.depth, CACHE_FLOATS)
        return sequence([prefetch(buffers[name], spec.place(name, batch, source, row, d)) for d in lines])

    def expect(query: Expr, token: Expr) -> Sequence[Stmt]:
        block = query // index(tile.columns)
        names = [name for name in ("k", "v", "q") if name in spec.token_major]
        return [choose(block == index(i), ask(name, token)) for i, name in enumerate(names)]

    return expect

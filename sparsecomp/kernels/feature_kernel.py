"""The dense linear kernel: tokens times panels of output features, all row-major, nothing transposed at run time.

The weights of a panel are neighbours for each input feature, so a vector holds features, and each value of x is
broadcast. See ``schedule.FeatureSchedule`` for the choices.
"""

from collections.abc import Callable
from itertools import product

import numpy as np
import numpy.typing as npt
import tvm
import tvm.tirx.script.builder.ir as T
from tvm import tirx
from tvm.script.ir_builder import IRBuilder

from sparsecomp.kernels.emit import (
    CACHE_FLOATS,
    Expr,
    argument,
    clear,
    each_run,
    guard,
    let,
    load,
    load_first,
    local,
    prefetch,
    prefetch_share,
    put_first,
    ramp,
    scratch,
    splat,
    store,
)
from sparsecomp.kernels.epilogue import Sums, finish, is_long, rows_at_once
from sparsecomp.kernels.finished import output_arguments
from sparsecomp.kernels.problem import LinearProblem
from sparsecomp.kernels.schedule import FeatureSchedule

Array = npt.NDArray[np.generic]


def pack(weight: Array, problem: LinearProblem, schedule: FeatureSchedule) -> tuple[Array, ...]:
    """The weight ``[out, in]`` as ``[panels, in, features of a panel]``, filled up with zeros, in one line."""
    panel = schedule.vectors * schedule.lanes
    padded = np.pad(weight, ((0, -problem.out_features % panel), (0, 0))).astype(np.float32)
    return (np.ascontiguousarray(padded.reshape(-1, panel, problem.in_features).transpose(0, 2, 1)).ravel(),)


def build(problem: LinearProblem, schedule: FeatureSchedule) -> tvm.tirx.PrimFunc:
    """The kernel ``(x, values, [bias], [residual], y)``."""
    return _Builder(problem, schedule).build()


class _Builder:
    """Emits one kernel; the fields are what its parts share."""

    def __init__(self, problem: LinearProblem, schedule: FeatureSchedule) -> None:
        self.problem, self.schedule = problem, schedule
        self.panel = schedule.vectors * schedule.lanes
        self.panels = -(-problem.out_features // self.panel)
        self.blocks = -(-problem.in_features // schedule.depth)

    def build(self) -> tvm.tirx.PrimFunc:
        size = self.schedule.tokens
        with IRBuilder() as builder, T.prim_func(s_tir=True):
            T.func_name("feature_panel")
            self._declare()
            tokens = self.rows if isinstance(self.rows, int) else let("n", tirx.Cast("int32", self.rows))
            self.full = let("full_tiles", tokens // size)
            self.rest = let("rest", tokens % size)
            tiles = let("tiles", (tokens + size - 1) // size)
            # What each step of a tile has to prefetch for the weights of the next depth block to be there in time.
            some = tiles if isinstance(tiles, int) else tirx.max(tiles, 1)
            self.share = let("share", (self.panel + some - 1) // some)
            runs = each_run(tiles * self.panels, self.schedule.workers, self.problem.macs)
            with runs as (begin, end), T.If(end > begin), T.Then():
                self._run(begin, end, tiles)
        return builder.get()

    def _run(self, begin: Expr, end: Expr, tiles: Expr) -> None:
        """The units ``begin ... end``, each a tile of tokens of a panel."""
        with T.serial(begin // tiles, (end - 1) // tiles + 1) as panel:
            first = let("first", tirx.max(begin - panel * tiles, 0))
            last = let("last", tirx.min(end - panel * tiles, tiles))
            with T.serial(0, self.blocks) as block, T.serial(first, last) as tile:
                self.done = let("done", tile - first)
                self._tile(panel, block, tile)

    def _declare(self) -> None:
        p = self.problem
        self.rows = tirx.Var("tokens", "int64") if p.tokens is None else p.tokens
        self.x = argument("x", (self.rows, p.in_features))
        self.values = argument("values", (self.panels * p.in_features * self.panel,))
        self.bias, self.residual, self.y = output_arguments(p.epilogue, p.out_features, (self.rows, p.out_features))

    def _tile(self, panel: Expr, block: Expr, tile: Expr) -> None:
        """One panel for one tile of tokens; the last tile may have fewer."""
        size = self.schedule.tokens
        if isinstance(self.rest, int) and self.rest == 0:
            self._product(panel, block, tile * size, size)
            return
        with T.If(tile < self.full):
            with T.Then():
                self._product(panel, block, tile * size, size)
            with T.Else():
                self._remainder(panel, block)

    def _remainder(self, panel: Expr, block: Expr) -> None:
        """The tokens after the last full tile: in one piece where their number is known, else by powers of two."""
        first = self.full * self.schedule.tokens
        if isinstance(self.rest, int):
            self._product(panel, block, first, self.rest)
            return
        for bit in range((self.schedule.tokens - 1).bit_length() - 1, -1, -1):
            piece = 1 << bit
            with T.If(self.rest // piece % 2 == 1), T.Then():
                self._product(panel, block, first + self.rest // (2 * piece) * (2 * piece), piece)

    def _product(self, panel: Expr, block: Expr, token: Expr, tokens: int) -> None:
        """A register tile, added over one depth block; y holds the sums between blocks."""
        p, s = self.problem, self.schedule
        token = let("token", token)
        acc = local("acc", tokens * self.panel)
        guard(None if self.blocks == 1 else block == self.blocks - 1, lambda: self._expect(panel, token, tokens))
        self._start(acc, panel, block, token, tokens)
        first = let("first_feature", block * s.depth)
        count = let("count", tirx.min(s.depth, p.in_features - first))
        with T.serial(0, count) as j:
            k = let("k", first + j)
            at = let("at", (panel * p.in_features + k) * self.panel)
            ahead = at + (count - j) * self.panel
            prefetch_share(self.values, ahead, self.done * count + j, self.share)
            weights = [let("w", load(self.values, None, s.lanes, at + v * s.lanes)) for v in range(s.vectors)]
            for t in range(tokens):
                value = let("value", splat(self.x[token + t, k], s.lanes))
                for v, weight in enumerate(weights):
                    i = ramp(t * self.panel + v * s.lanes, s.lanes)
                    store(acc, acc[i] + value * weight, i)
        self._end(acc, panel, block, token, tokens)

    def _expect(self, panel: Expr, token: Expr, tokens: int) -> None:
        """Prefetch what `_finish` is going to need: tokens are too far apart for the hardware to."""
        for t, feature in product(range(tokens), range(0, self.panel, CACHE_FLOATS)):
            at = (token + t, tirx.min(panel * self.panel + feature, self.problem.out_features - 1))
            prefetch(self.y, *at, write=True)
            if self.residual is not None:
                prefetch(self.residual, *at)

    def _start(self, acc: Expr, panel: Expr, block: Expr, token: Expr, tokens: int) -> None:
        if self.blocks == 1:
            self._zero(acc, tokens)
            return
        with T.If(block == 0):
            with T.Then():
                self._zero(acc, tokens)
            with T.Else():
                self._known(panel, lambda features: self._resume(acc, panel, features, token, tokens))

    def _zero(self, acc: Expr, tokens: int) -> None:
        clear(acc, tokens * self.panel, self.schedule.lanes)

    def _resume(self, acc: Expr, panel: Expr, features: int, token: Expr, tokens: int) -> None:
        lanes = self.schedule.lanes
        self._zero(acc, tokens)  # where there are no features
        for t, v in product(range(tokens), range(0, features, lanes)):
            sums = load_first(self.y, features - v, lanes, token + t, panel * self.panel + v)
            store(acc, sums, ramp(t * self.panel + v, lanes))

    def _end(self, acc: Expr, panel: Expr, block: Expr, token: Expr, tokens: int) -> None:
        """Store the epilogue of complete sums, or keep the sums in y."""

        def finish() -> None:
            self._known(panel, lambda features: self._finish(acc, panel, features, token, tokens))

        if self.blocks == 1:
            finish()
            return
        with T.If(block == self.blocks - 1):
            with T.Then():
                finish()
            with T.Else():
                self._known(panel, lambda features: self._keep(acc, panel, features, token, tokens))

    def _keep(self, acc: Expr, panel: Expr, features: int, token: Expr, tokens: int) -> None:
        lanes = self.schedule.lanes
        for t, v in product(range(tokens), range(0, features, lanes)):
            sums = acc[ramp(t * self.panel + v, lanes)]
            put_first(self.y, sums, features - v, lanes, token + t, panel * self.panel + v)

    def _known(self, panel: Expr, body: Callable[[int], None]) -> None:
        """Run the body with how many features the panel has, as a number: so whole vectors need no mask."""
        rest = self.problem.out_features % self.panel
        if rest == 0 or self.panels == 1:
            body(rest or self.panel)
            return
        with T.If(panel < self.panels - 1):
            with T.Then():
                body(self.panel)
            with T.Else():
                body(rest)

    def _finish(self, acc: Expr, panel: Expr, features: int, token: Expr, tokens: int) -> None:
        lanes = self.schedule.lanes
        if not is_long(self.problem.epilogue):
            self._finish_tokens(acc, panel, features, 0, token, tokens)
            return
        line = scratch("line", tokens * self.panel)
        for i in range(0, tokens * self.panel, lanes):
            store(line, acc[ramp(i, lanes)], ramp(i, lanes))
        together = rows_at_once(self.problem.epilogue, -(-features // lanes))
        whole, rest = divmod(tokens, together)
        with T.serial(0, whole) as i:
            self._finish_tokens(line, panel, features, i * together, token, together)
        if rest:
            self._finish_tokens(line, panel, features, whole * together, token, rest)

    def _finish_tokens(self, line: Expr, panel: Expr, features: int, first: Expr, token: Expr, tokens: int) -> None:
        lanes, sums, places = self.schedule.lanes, [], []
        for t, v in product(range(tokens), range(0, features, lanes)):
            feature, count, row = panel * self.panel + v, features - v, token + first + t
            bias = None if self.bias is None else load_first(self.bias, count, lanes, feature)
            residual = None if self.residual is None else load_first(self.residual, count, lanes, row, feature)
            sums.append(Sums(load(line, None, lanes, (first + t) * self.panel + v), bias, residual))
            places.append((count, lanes, row, feature))
        for value, place in zip(finish(sums, self.problem.epilogue, lanes), places, strict=True):
            put_first(self.y, value, *place)

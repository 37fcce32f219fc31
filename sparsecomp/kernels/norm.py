"""Softmax and layer norm over the last axis: each row is read while it is in the cache, rows in parallel."""

from collections.abc import Callable

from tvm import tirx
from tvm.tirx import Buffer

from sparsecomp.schedules.finish import finish
from sparsecomp.schedules.loops import (
    Dim,
    function,
    load,
    local,
    loop,
    parallel_where_it_pays,
    scratch,
    sequence,
    store,
    with_buffers,
)
from sparsecomp.schedules.math import fast_exp
from sparsecomp.schedules.rewrite import Expr, Stmt
from sparsecomp.targets.base import Target

Combine = Callable[[Expr, Expr], Expr]
Term = Callable[[Expr], Expr]


def _real(value: float) -> Expr:
    return tirx.const(value, "float32")


def _reduced(
    into: Buffer, start: Expr, size: Dim, combine: Callable[[Expr, Expr], Expr], term: Callable[[Expr], Expr]
) -> Stmt:
    """into[0] = start combined with ``term(i)`` for every i."""
    first = store(into, [0], start)
    return sequence([first, loop(size, lambda i: store(into, [0], combine(load(into, [0]), term(i))), name="c")])


def _sum(a: Expr, b: Expr) -> Expr:
    return a + b


def _finished(params: list[Buffer], rows: Dim, row: Callable[[Expr], Stmt], name: str, target: Target) -> tirx.PrimFunc:
    return finish(function(params, parallel_where_it_pays(rows, row), name), target).with_attr("tir.is_scheduled", True)


def build_softmax(rows: Dim, size: int, target: Target) -> tirx.PrimFunc:
    """The function (x [rows, size], out [rows, size]); ``rows`` may be symbolic."""
    x, out = scratch([rows, size], "x"), scratch([rows, size], "out")

    def row(r: Expr) -> Stmt:
        top, total = local(1, "top"), local(1, "total")
        steps = [
            _reduced(top, tirx.min_value("float32"), size, tirx.max, lambda c: load(x, [r, c])),
            loop(size, lambda c: store(out, [r, c], fast_exp(load(x, [r, c]) - load(top, [0]))), name="c"),
            _reduced(total, _real(0), size, _sum, lambda c: load(out, [r, c])),
            store(total, [0], _real(1) / load(total, [0])),
            loop(size, lambda c: store(out, [r, c], load(out, [r, c]) * load(total, [0])), name="c"),
        ]
        return with_buffers([top, total], sequence(steps))

    return _finished([x, out], rows, row, "softmax", target)


def build_layer_norm(rows: Dim, size: int, epsilon: float, affine: bool, target: Target) -> tirx.PrimFunc:
    """The function (x [rows, size][, weight [size], bias [size]], out [rows, size]); ``rows`` may be symbolic.

    The mean is taken twice: the second pass sums what is left over the first, rounded mean, and corrects both the mean
    and the variance with it (the two-pass algorithm of Chan, Golub and LeVeque, 1983, section 1). So a large mean costs
    no precision, at no further pass over the row.
    """
    x, out = scratch([rows, size], "x"), scratch([rows, size], "out")
    weight, bias = scratch([size], "weight"), scratch([size], "bias")

    def row(r: Expr) -> Stmt:
        mean, rest, squares = local(1, "mean"), local(1, "rest"), local(1, "squares")

        def centred(c: Expr) -> Expr:
            return load(x, [r, c]) - load(mean, [0])

        def both_sums(c: Expr) -> Stmt:
            rests = store(rest, [0], load(rest, [0]) + centred(c))
            return sequence([rests, store(squares, [0], load(squares, [0]) + centred(c) * centred(c))])

        def result(c: Expr) -> Expr:
            value = (centred(c) - load(rest, [0])) * load(squares, [0])
            return value * load(weight, [c]) + load(bias, [c]) if affine else value

        variance = load(squares, [0]) * _real(1 / size) - load(rest, [0]) * load(rest, [0])
        steps = [
            _reduced(mean, _real(0), size, _sum, lambda c: load(x, [r, c])),
            store(mean, [0], load(mean, [0]) * _real(1 / size)),
            store(rest, [0], _real(0)),
            store(squares, [0], _real(0)),
            loop(size, both_sums, name="c"),
            store(rest, [0], load(rest, [0]) * _real(1 / size)),
            store(squares, [0], _real(1) / tirx.sqrt(variance + _real(epsilon))),
            loop(size, lambda c: store(out, [r, c], result(c)), name="c"),
        ]
        return with_buffers([mean, rest, squares], sequence(steps))

    params = [x, weight, bias, out] if affine else [x, out]
    return _finished(params, rows, row, "layer_norm", target)

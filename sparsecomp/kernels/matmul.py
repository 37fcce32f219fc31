"""Batched product of two activations, out[b, m, n] = sum over k of a[b, m, k] b[b, k, n]; either may be transposed."""

from dataclasses import dataclass

from tvm import tirx

from sparsecomp.schedules.finish import finish
from sparsecomp.schedules.loops import Dim, function, load, scratch, store
from sparsecomp.schedules.product import Product, product_nest
from sparsecomp.schedules.tiles import tile_for
from sparsecomp.targets.base import Target


@dataclass(frozen=True)
class MatmulSpec:
    """The problem; sizes are integers or symbolic.

    Attributes:
        transpose_a: whether a is [batch, depth, rows].
        transpose_b: whether b is [batch, columns, depth].
    """

    batch: Dim
    rows: Dim
    columns: Dim
    depth: Dim
    transpose_a: bool = False
    transpose_b: bool = False


def build(spec: MatmulSpec, target: Target) -> tirx.PrimFunc:
    """The function (a, b, out) for ``spec``, float32."""
    left = (spec.depth, spec.rows) if spec.transpose_a else (spec.rows, spec.depth)
    right = (spec.columns, spec.depth) if spec.transpose_b else (spec.depth, spec.columns)
    a, b = scratch([spec.batch, *left], "a"), scratch([spec.batch, *right], "b")
    out = scratch([spec.batch, spec.rows, spec.columns], "out")
    problem = Product(
        batch=spec.batch,
        rows=spec.rows,
        columns=spec.columns,
        depth=spec.depth,
        left=lambda n, row, k: load(a, [n, k, row] if spec.transpose_a else [n, row, k]),
        right=lambda n, k, column: load(b, [n, column, k] if spec.transpose_b else [n, k, column]),
        put=lambda n, row, column, value: store(out, [n, row, column], value),
    )
    func = finish(function([a, b, out], product_nest(problem, tile_for(target)), "matmul"), target)
    return func.with_attr("tir.is_scheduled", True)

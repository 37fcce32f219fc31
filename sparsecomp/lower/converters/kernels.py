"""Operators that our own kernels compute."""

from typing import Any

import torch
from torch import fx
from tvm import relax

from sparsecomp.kernels import attention, row_panel
from sparsecomp.kernels.problem import ConvProblem, LinearProblem
from sparsecomp.lower.context import Context

aten = torch.ops.aten


def _packed(node: fx.Node, context: Context) -> Any:
    """A linear or convolution over packed buffers; the kernel takes tokens as rows, images with a height."""
    x, weight, extra, _, key = node.args
    packed = context.kernels[str(key)]
    out, problem = node.meta["val"], packed.problem
    shape = _flat_shape(out, problem, problem.out_features if isinstance(problem, LinearProblem) else None, context)
    inputs = _flat_shape(
        x.meta["val"],  # type: ignore[union-attr]
        problem,
        problem.in_features if isinstance(problem, LinearProblem) else None,
        context,
    )
    values = [_reshape(context, context.value(x), inputs), *context.value(weight)]
    for source in extra:  # type: ignore[union-attr]
        value = context.value(source)
        is_residual = isinstance(source, fx.Node) and source.meta["val"].dim() == out.dim() and out.dim() > 1
        values.append(_reshape(context, value, shape) if is_residual else value)
    name = "linear" if isinstance(problem, LinearProblem) else "conv"
    result = context.call(
        key, lambda: row_panel.build(problem, packed.schedule), values, relax.TensorType(shape, "float32"), name
    )
    return _reshape(context, result, context.symbols.dims(out.shape))


def _flat_shape(value: torch.Tensor, problem: Any, features: int | None, context: Context) -> list[Any]:
    sizes = context.symbols.dims(value.shape)
    if isinstance(problem, ConvProblem):
        return sizes if len(sizes) == 4 else [sizes[0], sizes[1], 1, sizes[2]]
    tokens = 1
    for size in sizes[:-1]:
        tokens = tokens * size
    return [tokens, features]


def _reshape(context: Context, value: Any, shape: list[Any]) -> Any:
    current = value.ty.shape.values if isinstance(value.ty, relax.TensorType) and value.ty.shape is not None else None
    if current is not None and len(current) == len(shape):
        return value
    return context.emit(relax.op.reshape(value, relax.ShapeExpr(shape)))


def _attention(node: fx.Node, context: Context) -> Any:
    """``scaled_dot_product_attention(q, k, v, mask, dropout, causal, scale=, enable_gqa=)`` of float32, rank 3 or 4."""
    arguments = [*node.args[3:], *[None] * 3]
    q, k, v, mask = (*node.args[:3], node.kwargs.get("attn_mask", arguments[0]))
    causal = bool(node.kwargs.get("is_causal", arguments[2] or False))
    out = node.meta["val"]
    sizes = [_rank4(context.symbols.dims(value.meta["val"].shape)) for value in (q, k, v)]  # type: ignore[union-attr]
    if out.dtype != torch.float32 or out.dim() not in (3, 4) or sizes[0][3] != sizes[2][3]:
        return None
    scale = node.kwargs.get("scale") or float(sizes[0][3]) ** -0.5
    spec = attention.AttentionSpec(
        batch=sizes[0][0],
        heads=sizes[0][1],
        kv_heads=sizes[1][1],
        queries=sizes[0][2],
        keys=sizes[1][2],
        depth=sizes[0][3],
        scale=float(scale),  # type: ignore[arg-type]
        mask=None if mask is None else tuple(_rank4(context.symbols.dims(mask.meta["val"].shape))),  # type: ignore[arg-type, union-attr]
        mask_dtype="bool" if mask is not None and mask.meta["val"].dtype == torch.bool else "float32",  # type: ignore[union-attr]
        causal=causal,
    )
    values = [_reshape(context, context.value(value), size) for value, size in zip((q, k, v), sizes, strict=True)]
    if mask is not None:
        values.append(_reshape(context, context.value(mask), list(spec.mask or ())))
    shape = [sizes[0][0], sizes[0][1], sizes[0][2], sizes[2][3]]
    result = context.call(
        ("attention", repr(spec)),
        lambda: attention.build(spec, context.target),
        values,
        relax.TensorType(shape, "float32"),
        "attention",
    )
    return _reshape(context, result, context.symbols.dims(out.shape))


def _rank4(sizes: list[Any]) -> list[Any]:
    return [1] * (4 - len(sizes)) + sizes


CONVERTERS: dict[Any, Any] = {
    torch.ops.sparsecomp.packed.default: _packed,
    aten.scaled_dot_product_attention.default: _attention,
}

"""Scaled dot product attention: one kernel, or its parts where the kernel does not apply."""

from typing import Any

import torch
from torch import fx
from tvm import relax

from sparsecomp.kernels import attention
from sparsecomp.lower.context import Context

aten = torch.ops.aten


def _attention(node: fx.Node, context: Context) -> Any:
    """``scaled_dot_product_attention(q, k, v, mask, dropout, causal, scale=, enable_gqa=)``."""
    arguments = [*node.args, *[None] * 3]
    mask = node.kwargs.get("attn_mask", arguments[3])
    q, k, v = (context.symbols.dims(value.meta["val"].shape) for value in node.args[:3])  # type: ignore[union-attr]
    out = node.meta["val"]
    spec = attention.AttentionSpec(
        batch=_first(q),
        heads=q[-3] if len(q) > 2 else 1,
        kv_heads=k[-3] if len(k) > 2 else 1,
        queries=q[-2],
        keys=k[-2],
        depth=q[-1],
        scale=float(node.kwargs.get("scale") or q[-1] ** -0.5),  # type: ignore[arg-type]
        mask=None if mask is None else _rank4(context.symbols.dims(mask.meta["val"].shape)),  # type: ignore[union-attr]
        mask_dtype="bool" if mask is not None and mask.meta["val"].dtype == torch.bool else "float32",  # type: ignore[union-attr]
        causal=bool(node.kwargs.get("is_causal", arguments[5])),
    )
    applies = out.dtype == torch.float32 and len(q) <= 4 and q[-1] == v[-1] and q[-1] % context.target.lanes == 0
    values = [context.reshape(value, _rank4(dims)) for value, dims in zip(node.args, (q, k, v), strict=False)]
    if mask is not None:
        values.append(context.reshape(mask, list(spec.mask or ())))
    result = _fused(spec, values, context) if applies else _composed(spec, values, context)
    return context.reshape(result, context.symbols.dims(out.shape))


def _first(sizes: list[Any]) -> Any:
    return sizes[0] if len(sizes) > 3 else 1


def _rank4(sizes: list[Any]) -> Any:
    return (*[1] * (4 - len(sizes)), *sizes)


def _fused(spec: attention.AttentionSpec, values: list[Any], context: Context) -> Any:
    shape = [spec.batch, spec.heads, spec.queries, spec.depth]
    build = lambda: attention.build(spec, context.target)  # noqa: E731
    return context.call(("attention", repr(spec)), build, values, relax.TensorType(shape, "float32"), "attention")


def _composed(spec: attention.AttentionSpec, values: list[Any], context: Context) -> Any:
    """``softmax(q k^T * scale + mask) v`` by TVM's operators."""
    q, k, v, *masks = values
    repeats = spec.heads // spec.kv_heads
    if repeats > 1:
        k, v = (context.emit(relax.op.repeat(value, repeats, axis=1)) for value in (k, v))
    keys = context.emit(relax.op.permute_dims(k, [0, 1, 3, 2]))
    scores = context.emit(relax.op.multiply(relax.op.matmul(q, keys), relax.const(spec.scale, "float32")))
    for mask in masks:
        low = relax.const(attention.MASKED, "float32")
        added = relax.op.where(mask, scores, low) if spec.mask_dtype == "bool" else relax.op.add(scores, mask)
        scores = context.emit(added)
    if spec.causal:
        scores = context.emit(relax.op.add(scores, _causal_mask(spec, context)))
    return context.emit(relax.op.matmul(relax.op.nn.softmax(scores, axis=-1), v))


def _causal_mask(spec: attention.AttentionSpec, context: Context) -> Any:
    shape = relax.ShapeExpr([spec.queries, spec.keys])
    low = relax.op.full(shape, relax.const(attention.MASKED, "float32"))
    return context.emit(relax.op.triu(low, 1))


CONVERTERS: dict[Any, Any] = {aten.scaled_dot_product_attention.default: _attention}

"""Scaled dot product attention: one kernel, or its parts where the kernel does not apply."""

from typing import Any

import torch
from torch import fx
from tvm import relax

from sparsecomp.kernels import attention
from sparsecomp.lower.context import Context
from sparsecomp.program import arguments

aten = torch.ops.aten


def _attention(node: fx.Node, context: Context) -> Any:
    given, out = arguments(node), node.meta["val"]
    q, k, v = (context.symbols.dims(given[name].meta["val"].shape) for name in ("query", "key", "value"))
    if out.dtype != torch.float32 or len(q) > 4:
        return None
    inputs = [context.reshape(given[name], _rank4(dims)) for name, dims in (("query", q), ("key", k), ("value", v))]
    mask = given["attn_mask"]
    if mask is not None:
        inputs.append(context.reshape(mask, _rank4(context.symbols.dims(mask.meta["val"].shape))))
    spec = _spec(given, q, k, context)
    kernel = _fused if q[-1] == v[-1] and q[-1] % context.target.lanes == 0 else _composed
    return context.reshape(kernel(spec, inputs, context), context.symbols.dims(out.shape))


def _spec(given: dict[str, Any], q: list[Any], k: list[Any], context: Context) -> attention.AttentionSpec:
    mask, scale = given["attn_mask"], given["scale"]
    seen = None if mask is None else mask.meta["val"]
    batch, heads, queries, depth = map(context.parameter, _rank4(q))
    _, kv_heads, keys, _ = map(context.parameter, _rank4(k))
    return attention.AttentionSpec(
        batch=batch,
        heads=heads,
        kv_heads=kv_heads,
        queries=queries,
        keys=keys,
        depth=depth,
        scale=float(depth) ** -0.5 if scale is None else float(scale),
        mask=None if seen is None else _mask_shape(context.symbols.dims(seen.shape), context),
        mask_dtype="bool" if seen is not None and seen.dtype == torch.bool else "float32",
        causal=bool(given["is_causal"]),
    )


def _mask_shape(sizes: list[Any], context: Context) -> tuple[Any, Any, Any, Any]:
    first, second, third, fourth = map(context.parameter, _rank4(sizes))
    return first, second, third, fourth


def _rank4(sizes: list[Any]) -> list[Any]:
    return [1] * (4 - len(sizes)) + sizes


def _fused(spec: attention.AttentionSpec, inputs: list[Any], context: Context) -> Any:
    return context.call(
        ("attention", repr(spec)),
        lambda: attention.build(spec, context.target),
        inputs,
        relax.TensorType(list(inputs[0].ty.shape.values), "float32"),
        "attention",
    )


def _composed(spec: attention.AttentionSpec, inputs: list[Any], context: Context) -> Any:
    """``softmax(q k^T * scale + mask) v`` by TVM's operators."""
    q, k, v, *masks = inputs
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
        low = relax.op.full_like(scores, relax.const(attention.MASKED, "float32"))
        scores = context.emit(relax.op.add(scores, relax.op.triu(low, 1)))
    return context.emit(relax.op.matmul(relax.op.nn.softmax(scores, axis=-1), v))


CONVERTERS: dict[Any, Any] = {aten.scaled_dot_product_attention.default: _attention}

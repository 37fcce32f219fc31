"""Scaled dot product attention, by its kernel."""

from typing import Any

import torch
from torch import fx
from tvm import relax, te, tirx

from sparsecomp.kernels import attention
from sparsecomp.lower.context import Context
from sparsecomp.program import arguments

aten = torch.ops.aten


def _attention(node: fx.Node, context: Context) -> Any:
    given, out = arguments(node), node.meta["val"]
    q, k, v = (context.symbols.dims(given[name].meta["val"].shape) for name in ("query", "key", "value"))
    if out.dtype != torch.float32 or len(q) > 4:
        return None
    depth = -(-max(q[-1], v[-1]) // context.target.lanes) * context.target.lanes
    inputs = [_padded(given[name], dims, depth, context) for name, dims in (("query", q), ("key", k), ("value", v))]
    mask = given["attn_mask"]
    if mask is not None:
        inputs.append(context.reshape(mask, _rank4(context.symbols.dims(mask.meta["val"].shape))))
    spec = _spec(given, q, k, depth, context)
    result = context.call(
        ("attention", repr(spec)),
        lambda: attention.build(spec, context.target),
        inputs,
        relax.TensorType(list(inputs[0].ty.shape.values), "float32"),
        "attention",
    )
    return context.reshape(_cut(result, v[-1], context), context.symbols.dims(out.shape))


def _padded(value: fx.Node, sizes: list[Any], depth: int, context: Context) -> Any:
    """Four axes, the last filled up with zeros: they change no score, and give columns that are cut off again."""
    own, result = sizes[-1], context.reshape(value, _rank4(sizes))
    if own == depth:
        return result

    def pad(x: te.Tensor) -> te.Tensor:
        zero = tirx.const(0.0, "float32")
        inner = lambda *i: tirx.if_then_else(i[-1] < own, x(*i), zero)  # noqa: E731
        return te.compute([*_rank4(sizes)[:-1], depth], inner, name="pad")

    return context.tensor(pad, result)


def _cut(result: Any, depth: int, context: Context) -> Any:
    shape = list(result.ty.shape.values)
    if int(shape[-1]) == depth:
        return result
    return context.tensor(lambda x: te.compute([*shape[:-1], depth], lambda *i: x(*i), name="cut"), result)


def _spec(given: dict[str, Any], q: list[Any], k: list[Any], padded: int, context: Context) -> attention.AttentionSpec:
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
        depth=padded,
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


CONVERTERS: dict[Any, Any] = {aten.scaled_dot_product_attention.default: _attention}

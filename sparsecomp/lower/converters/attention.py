"""Scaled dot product attention, by its kernel."""

from typing import Any

import torch
from torch import fx
from tvm import relax, te, tirx

from sparsecomp.kernels import attention
from sparsecomp.kernels.attention_operands import AttentionSpec
from sparsecomp.lower.context import Context
from sparsecomp.lower.converters.view import axes_of
from sparsecomp.program import arguments

aten = torch.ops.aten


SWAPPED = [0, 2, 1, 3]
"""The permutation between [batch, heads, tokens, depth] and [batch, tokens, heads, depth]."""


def _attention(node: fx.Node, context: Context) -> Any:
    given, out = arguments(node), node.meta["val"]
    q, k, v = (context.symbols.dims(given[name].meta["val"].shape) for name in ("query", "key", "value"))
    if out.dtype != torch.float32 or len(q) > 4:
        return None
    depth = -(-max(q[-1], v[-1]) // context.target.lanes) * context.target.lanes
    operands = {"q": given["query"], "k": given["key"], "v": given["value"]}
    swapped = {name for name, value in operands.items() if _swaps(value)}
    if node.users and all(_swaps(user) for user in node.users):
        swapped.add("out")
    sources = [value.args[0] if name in swapped else value for name, value in operands.items()]
    inputs = [_padded(source, depth, context) for source in sources]
    mask = given["attn_mask"]
    if mask is not None:
        inputs.append(context.reshape(mask, _rank4(context.symbols.dims(mask.meta["val"].shape))))
    spec = _spec(given, q, k, depth, tuple(sorted(swapped)), context)
    batch, heads, tokens, _ = _rank4(context.symbols.dims(out.shape))
    sizes = spec.place("out", batch, heads, tokens, depth)
    result = context.call(
        ("attention", repr(spec)),
        lambda: attention.build(spec, context.target),
        inputs,
        relax.TensorType(sizes, "float32"),
        "attention",
    )
    result = _cut(result, v[-1], context)
    if "out" in swapped:
        context.results[result.name] = node.name  # the permutation that reads it will be gone
        return context.emit(relax.op.permute_dims(result, SWAPPED))
    return context.reshape(result, context.symbols.dims(out.shape))


def _swaps(value: fx.Node) -> bool:
    """Whether a node swaps heads and tokens: the kernel does without."""
    if value.target not in (aten.permute.default, aten.transpose.int) or value.meta["val"].dim() != 4:
        return False
    return axes_of(value) == SWAPPED


def _padded(value: fx.Node, depth: int, context: Context) -> Any:
    """Four axes, the last filled up with zeros: they change no score, and give columns that are cut off again."""
    sizes = context.symbols.dims(value.meta["val"].shape)
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


def _spec(
    given: dict[str, Any], q: list[Any], k: list[Any], padded: int, token_major: tuple[str, ...], context: Context
) -> AttentionSpec:
    mask, scale = given["attn_mask"], given["scale"]
    seen = None if mask is None else mask.meta["val"]
    batch, heads, queries, depth = map(context.parameter, _rank4(q))
    _, kv_heads, keys, _ = map(context.parameter, _rank4(k))
    return AttentionSpec(
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
        token_major=token_major,
    )


def _mask_shape(sizes: list[Any], context: Context) -> tuple[Any, Any, Any, Any]:
    first, second, third, fourth = map(context.parameter, _rank4(sizes))
    return first, second, third, fourth


def _rank4(sizes: list[Any]) -> list[Any]:
    return [1] * (4 - len(sizes)) + sizes


CONVERTERS: dict[Any, Any] = {aten.scaled_dot_product_attention.default: _attention}

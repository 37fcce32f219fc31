"""Attention against PyTorch's, with and without masks, known and symbolic sizes."""

import pytest
import torch
from tvm import tirx

from sparsecomp.kernels.attention import build
from sparsecomp.kernels.attention_operands import AttentionSpec
from tests.schedules.reference import HOST, WIDE, call, error

SHAPES = [(1, 2, 128, 128, 64), (2, 3, 37, 37, 32), (1, 2, 5, 3, 16), (1, 2, 1, 77, 64), (2, 1, 65, 33, 32)]


def attend(shape, target=HOST, mask=None, causal=False, symbolic=False):
    batch, heads, queries, keys, depth = shape
    q = torch.randn(batch, heads, queries, depth)
    k, v = torch.randn(batch, heads, keys, depth), torch.randn(batch, heads, keys, depth)
    sizes = [tirx.Var(n, "int64") for n in "bst"] if symbolic else [batch, queries, keys]
    dtype = "bool" if mask is not None and mask.dtype == torch.bool else "float32"
    mask_sizes = None
    if mask is not None:
        mask_sizes = tuple(
            1 if m == 1 else s for m, s in zip(mask.shape, (sizes[0], heads, sizes[1], sizes[2]), strict=True)
        )
    spec = AttentionSpec(sizes[0], heads, heads, sizes[1], sizes[2], depth, depth**-0.5, mask_sizes, dtype, causal)
    args = (q, k, v) if mask is None else (q, k, v, mask)
    found = call(build(spec, target), *args, shape=tuple(q.shape))
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
    return error(found, expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("target", [HOST, WIDE], ids=lambda t: t.name)
def test_attention(shape, target):
    assert attend(shape, target) <= 1e-6


def test_symbolic_sizes():
    assert attend(SHAPES[1], symbolic=True) <= 1e-6


def test_causal():
    assert attend((1, 2, 70, 70, 32), causal=True) <= 1e-6


def test_a_mask_to_add_and_one_of_the_keys_seen():
    assert attend((2, 2, 33, 41, 32), mask=torch.randn(1, 1, 33, 41)) <= 1e-6
    seen = torch.rand(2, 1, 1, 41) > 0.3
    assert attend((2, 2, 33, 41, 32), mask=seen) <= 1e-6


def test_grouped_heads_share_keys_and_values():
    q, k, v = torch.randn(1, 4, 9, 16), torch.randn(1, 2, 9, 16), torch.randn(1, 2, 9, 16)
    found = call(build(AttentionSpec(1, 4, 2, 9, 9, 16, 0.25), HOST), q, k, v, shape=(1, 4, 9, 16))
    repeated = [t.repeat_interleave(2, 1) for t in (k, v)]
    assert error(found, torch.nn.functional.scaled_dot_product_attention(q, *repeated)) <= 1e-6


@pytest.mark.parametrize("heads", [2, 3])
@pytest.mark.parametrize("swapped", [("q",), ("k", "v"), ("out",), ("k", "out", "q", "v")])
@pytest.mark.parametrize(("queries", "keys"), [(37, 41), (100, 41), (70, 97)])
def test_what_is_stored_token_by_token(swapped, heads, queries, keys):
    shapes = {"q": (2, heads, queries, 16), "k": (2, heads, keys, 16), "v": (2, heads, keys, 16)}
    given = {name: torch.randn(shape) for name, shape in shapes.items()}
    spec = AttentionSpec(2, heads, heads, queries, keys, 16, 0.25, token_major=swapped)
    stored = [value.transpose(1, 2).contiguous() if name in swapped else value for name, value in given.items()]
    found = call(build(spec, HOST), *stored, shape=tuple(spec.place("out", 2, heads, queries, 16)))
    found = found.transpose(1, 2) if "out" in swapped else found
    assert error(found, torch.nn.functional.scaled_dot_product_attention(*given.values())) <= 1e-6

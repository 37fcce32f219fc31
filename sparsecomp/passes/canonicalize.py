"""One spelling for each meaning: what later passes and rules must know is kept small."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from sparsecomp.passes.empty_pieces import drop_empty_pieces
from sparsecomp.passes.explicit_padding import EXPLICIT, explicit_padding
from sparsecomp.program import Program, origin

aten = torch.ops.aten

_CHECKS = {
    aten._assert_tensor_metadata.default,
    aten._assert_scalar.default,
    aten._assert_async.msg,
    aten.sym_constrain_range_for_size.default,
    aten.sym_constrain_range.default,
}
_IDENTITIES = {
    aten.alias.default,
    aten.clone.default,
    aten.contiguous.default,
    aten.detach.default,
    aten.dropout.default,
    aten.feature_dropout.default,
    aten.lift_fresh_copy.default,
}
_IDENTITIES_IF_SAME_TYPE = {
    aten._to_copy.default,
    aten.expand.default,
    aten.reshape.default,
    aten.slice.Tensor,
    aten.to.device,
    aten.to.dtype,
    aten.to.dtype_layout,
    aten.view.default,
}
_RENAMED: dict[object, torch._ops.OpOverload[..., Any]] = {
    aten.view.default: aten.reshape.default,
    aten._unsafe_view.default: aten.reshape.default,
    aten._softmax.default: aten.softmax.int,
}


@dataclass(frozen=True)
class Canonicalize:
    """Remove what has no meaning for an inference graph and give the rest one form.

    - checks, copies, dropout and casts or views to the same type disappear, and so do padding by nothing, the
      concatenation of one tensor, and pieces of a split that are empty;
    - ``t`` becomes ``permute``; ``view`` becomes ``reshape`` (copies were removed, so a view may no longer be one);
    - ``_native_batch_norm_legit_no_training(...)[0]`` becomes ``batch_norm(...)``;
    - a convolution of one image without a batch axis gets one, and padding is numbers, not ``"same"``;
    - ``addmm(b, x, w)``, ``mm(x, w)`` and ``matmul(x, w)`` with a weight ``w`` become ``linear(x, w^T, b)``.

    A weight that is read under two names is read through one node.
    """

    name: str = "canonicalize"

    def apply(self, program: Program) -> bool:
        """See the class."""
        changed = _merge_weights(program)
        for node in program.calls():
            rewrite = _REWRITES.get(node.target)
            if rewrite is not None:
                changed = rewrite(program, node) or changed
        return changed


def _merge_weights(program: Program) -> bool:
    first: dict[tuple[object, ...], fx.Node] = {}
    changed = False
    for node in list(program.graph.find_nodes(op="get_attr")):
        tensor = program.weight(node)
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype) if tensor.numel() else (node,)
        kept = first.setdefault(key, node)
        if kept is not node:
            node.replace_all_uses_with(kept)
            program.graph.erase_node(node)
            changed = True
    return changed


def _remove(program: Program, node: fx.Node) -> bool:
    program.graph.erase_node(node)
    return True


def _bypass(program: Program, node: fx.Node) -> bool:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    node.replace_all_uses_with(source)
    program.graph.erase_node(node)
    return True


def _bypass_if_same_type(program: Program, node: fx.Node) -> bool:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    before, after = source.meta["val"], node.meta["val"]
    if before.dtype == after.dtype and list(before.shape) == list(after.shape):
        return _bypass(program, node)
    return _rename(program, node)


def _bypass_if_nothing_is_padded(program: Program, node: fx.Node) -> bool:
    padding = node.args[1]
    return isinstance(padding, list | tuple) and not any(size != 0 for size in padding) and _bypass(program, node)


def _bypass_if_alone(program: Program, node: fx.Node) -> bool:
    """A concatenation of one tensor is that tensor."""
    pieces = node.args[0]
    first = pieces[0] if isinstance(pieces, list | tuple) and len(pieces) == 1 else None
    if not isinstance(first, fx.Node) or first.meta["val"].dtype != node.meta["val"].dtype:
        return False
    node.replace_all_uses_with(first)
    program.graph.erase_node(node)
    return True


def _rename(_: Program, node: fx.Node) -> bool:
    target = _RENAMED.get(node.target)
    if target is None:
        return False
    node.target = target
    if target is aten.softmax.int:
        node.args = node.args[:2]  # the third says "half to float", always false on the cpu
    return True


def _transpose(_: Program, node: fx.Node) -> bool:
    axes = list(range(node.meta["val"].dim()))
    node.target, node.args = aten.permute.default, (node.args[0], axes[::-1])
    return True


def _batch_norm(program: Program, node: fx.Node) -> bool:
    readers = list(node.users)
    if any(user.target is not operator.getitem or user.args[1] != 0 for user in readers):
        return False
    x, gamma, beta, mean, var, momentum, eps = node.args
    with program.graph.inserting_before(node):
        args = (x, gamma, beta, mean, var, False, momentum, eps, False)
        norm = program.graph.call_function(aten.batch_norm.default, args)
    norm.meta = {**node.meta, "val": node.meta["val"][0]}
    for reader in readers:
        reader.replace_all_uses_with(norm)
        program.graph.erase_node(reader)
    program.graph.erase_node(node)
    return True


def _with_batch(program: Program, node: fx.Node) -> bool:
    """``conv(x, ...)`` becomes ``conv(x[None], ...)[0]``."""
    image, weight = node.args[:2]
    assert isinstance(image, fx.Node) and isinstance(weight, fx.Node) and callable(node.target)
    if image.meta["val"].dim() == weight.meta["val"].dim():
        return False
    with program.graph.inserting_before(node):
        batch = program.graph.call_function(aten.unsqueeze.default, (image, 0))
        conv = program.graph.call_function(node.target, (batch, *node.args[1:]), node.kwargs)
        result = program.graph.call_function(aten.squeeze.dim, (conv, 0))
    for new in (batch, conv, result):
        new.meta = origin(node)
    node.replace_all_uses_with(result)
    program.graph.erase_node(node)
    return True


def _explicit(program: Program, node: fx.Node) -> bool:
    explicit_padding(program, node)
    _with_batch(program, node)
    return True


def _linear(program: Program, node: fx.Node) -> bool:
    """``mm(x, w)`` or ``addmm(b, x, w)`` with ``w`` of shape [in, out] becomes ``linear``."""
    bias, x, weight = (node.args[0], *node.args[1:3]) if node.target is aten.addmm.default else (None, *node.args[:2])
    if node.kwargs or not (bias is None or _is_row(program, bias)):
        return False
    if (stored := _stored_transposed(program, weight)) is not None:
        node.target, node.args = aten.linear.default, (x, stored, bias)
        return True
    if not program.is_weight(weight):
        return False
    assert isinstance(weight, fx.Node)
    value = program.weight(weight)
    if value.dim() != 2:
        return False
    transposed = program.add_weight(str(weight.target), value.t().contiguous(), before=node, trained=True)
    node.target, node.args = aten.linear.default, (x, transposed, bias)
    return True


def _stored_transposed(program: Program, weight: object) -> fx.Node | None:
    """The weight of shape [out, in] that a graph transposes; reading it as it is keeps tied weights tied."""
    if not isinstance(weight, fx.Node) or weight.target is not aten.permute.default:
        return None
    source, axes = weight.args
    swapped = isinstance(axes, list | tuple) and list(axes) == [1, 0]
    return source if isinstance(source, fx.Node) and program.is_weight(source) and swapped else None


def _is_row(program: Program, bias: object) -> bool:
    return isinstance(bias, fx.Node) and program.is_weight(bias) and program.weight(bias).dim() == 1


_REWRITES: dict[object, Callable[[Program, fx.Node], bool]] = {
    **dict.fromkeys(_CHECKS, _remove),
    **dict.fromkeys(_RENAMED, _rename),
    **dict.fromkeys(_IDENTITIES, _bypass),
    **dict.fromkeys(_IDENTITIES_IF_SAME_TYPE, _bypass_if_same_type),
    aten._native_batch_norm_legit_no_training.default: _batch_norm,
    aten.cat.default: _bypass_if_alone,
    aten.constant_pad_nd.default: _bypass_if_nothing_is_padded,
    aten.pad.default: _bypass_if_nothing_is_padded,
    **dict.fromkeys(EXPLICIT, _explicit),
    aten.conv1d.default: _with_batch,
    aten.conv2d.default: _with_batch,
    aten.split_with_sizes.default: drop_empty_pieces,
    aten.t.default: _transpose,
    aten.addmm.default: _linear,
    aten.mm.default: _linear,
    aten.matmul.default: _linear,
}

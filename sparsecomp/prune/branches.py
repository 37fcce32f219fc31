"""Residual branches: the sums of a graph in which one summand is computed from the other."""

from collections.abc import Iterator

import torch
from torch.fx import Graph, Node

aten = torch.ops.aten
_SUMS = (aten.add.Tensor, aten.add_.Tensor)
_CHANNELWISE = (aten.batch_norm.default, aten.mul.Tensor)
_ZERO_STAYS = tuple(
    getattr(aten, name).default for name in ("relu", "silu", "gelu", "tanh", "hardswish", "relu6", "neg")
)
_SHAPE = (aten.reshape.default, aten.view.default, aten.permute.default, aten.transpose.int, aten.clone.default)


def branches(graph: Graph, weights: set[str]) -> Iterator[list[str]]:
    """For each residual branch the parameters that make it zero: its last weight, with bias and scales after it."""
    places = {node: place for place, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if node.op == "call_function" and node.target in _SUMS:
            operands = [each for each in node.args[:2] if isinstance(each, Node)]
            for branch, stream in zip(operands, reversed(operands), strict=True):
                if len(operands) == 2 and branch is not stream and _depends(branch, stream, places):
                    names = _last_parameters(branch, weights)
                    if names:
                        yield names


def _depends(node: Node, on: Node, places: dict[Node, int]) -> bool:
    waiting, seen = [node], {node}
    while waiting:
        for source in waiting.pop().all_input_nodes:
            if source is on:
                return True
            if source not in seen and places[source] > places[on]:
                seen.add(source)
                waiting.append(source)
    return False


def _last_parameters(node: Node, weights: set[str]) -> list[str]:
    found: list[str] = []
    while node.op == "call_function" and len(node.users) == 1:
        names = [str(each.target) for each in node.all_input_nodes if each.op == "get_attr"]
        if any(name in weights for name in names):
            return [*names, *found]
        if node.target in _CHANNELWISE:
            found += names
        elif node.target not in _SHAPE + _ZERO_STAYS:
            return []
        inner = [each for each in node.all_input_nodes if each.op != "get_attr"]
        if len(inner) != 1:
            return []
        node = inner[0]
    return []

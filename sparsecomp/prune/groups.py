"""Slices of several layers that are zeroed as one, so that compile cuts them out: channels, heads, neurons, layers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.fx import Node

from sparsecomp.capture import capture
from sparsecomp.errors import PruneError
from sparsecomp.passes.canonicalize import Canonicalize
from sparsecomp.passes.eliminate_dead import EliminateDead
from sparsecomp.program import Program
from sparsecomp.prune.branches import branches
from sparsecomp.prune.data import Batch
from sparsecomp.prune.labels import AxisKey, Labels, Ties, VariableKey
from sparsecomp.prune.weights import Weight

aten = torch.ops.aten
_ATTENTION = (aten.scaled_dot_product_attention.default, aten.softmax.int, aten._softmax.default)

Origins = Mapping[str, tuple[str, bool]]
"""For each weight of a graph the parameter that it is, and whether it is stored the other way round there."""


@dataclass(frozen=True, eq=False)
class Slices:
    """Slices of one parameter: ``indices`` on ``axis``; all of it where ``axis`` is None."""

    name: str
    axis: int | None
    indices: Tensor


@dataclass(frozen=True, eq=False)
class Group:
    """Units that a layer is made of, and that may go one by one.

    Attributes:
        name: of the layer whose outputs they are.
        units: for each, the slices of parameters that are zeroed with it.
    """

    name: str
    units: tuple[tuple[Slices, ...], ...]

    @property
    def parameters(self) -> set[str]:
        """Names of all parameters with a slice in a unit."""
        return {part.name for unit in self.units for part in unit}


def find_groups(model: nn.Module, batch: Batch, kind: str, weights: Mapping[str, Weight]) -> list[Group]:
    """The groups of a model.

    Args:
        model: in evaluation mode.
        batch: example inputs.
        kind: ``"channels"``, ``"heads"``, ``"neurons"`` or ``"layers"``.
        weights: of the model, all that could be pruned.

    Raises:
        PruneError: there is none.
        CaptureError: the model cannot be captured.
    """
    program = capture(model, batch.args, batch.kwargs)
    Canonicalize().apply(program)
    EliminateDead().apply(program)
    program.finish()
    origins = _origins(program, dict(model.named_parameters(remove_duplicate=False)))
    if kind == "layers":
        known = {origin: name for origin, (name, _) in origins.items() if name in weights}
        chains = branches(program.graph, set(known))
        units = tuple(_whole([origins[n][0] for n in names if n in origins]) for names in chains)
        found = [Group("residual branches", units)] if len(units) > 1 else []
    else:
        ties = Ties(program.module)
        sources = _head_sources(ties, origins) if kind == "heads" else _output_sources(ties, origins, weights)
        found = list(_groups(ties, sources, kind, weights, origins))
    if not found:
        raise PruneError(f"prune: no {kind} of this model can be removed; see the patterns unstructured, blockRxC, N:M")
    return found


def _whole(names: list[str]) -> tuple[Slices, ...]:
    return tuple(Slices(name, None, torch.zeros(0, dtype=torch.int64)) for name in names)


def _origins(program: Program, parameters: Mapping[str, Tensor]) -> Origins:
    by_shape: dict[tuple[int, ...], list[str]] = {}
    for name, parameter in parameters.items():
        by_shape.setdefault(tuple(parameter.shape), []).append(name)
    found = {}
    for name, tensor in program.weights().items():
        if name in parameters:
            found[name] = (name, False)
        elif tensor.dim() == 2:
            alike = by_shape.get(tuple(reversed(tensor.shape)), [])
            source = next((each for each in alike if torch.equal(parameters[each].t(), tensor)), None)
            if source is not None:
                found[name] = (source, True)
    return found


def _groups(
    ties: Ties,
    sources: Iterator[tuple[str, VariableKey]],
    kind: str,
    weights: Mapping[str, Weight],
    origins: Origins,
) -> Iterator[Group]:
    done: set[tuple[str, int | None, int]] = set()
    for name, source in sources:
        if kind != "heads" and (name, weights[name].out_axis, 0) in done:
            continue
        labels = Labels(ties, source)
        if kind == "heads" and not _in_attention(labels):
            continue
        units = [_slices(unit, origins) for unit in labels.units(origins).values()]
        units = [unit for unit in units if any(part.name in weights for part in unit)]
        axes = {(part.name, part.axis) for unit in units for part in unit}
        slices = {(part.name, part.axis, index) for unit in units for part in unit for index in part.indices.tolist()}
        fits = kind != "neurons" or _is_feed_forward(axes, weights)
        if len(units) > 1 and not slices & done and fits:
            done |= slices
            yield Group(name.removesuffix(".weight"), tuple(units))


def _slices(unit: Mapping[AxisKey, Tensor], origins: Origins) -> tuple[Slices, ...]:
    found = []
    for (value, axis), indices in unit.items():
        name, transposed = origins[str(value.node.target)]
        found.append(Slices(name, 1 - axis if transposed else axis, indices))
    return tuple(found)


def _is_feed_forward(axes: set[tuple[str, int | None]], weights: Mapping[str, Weight]) -> bool:
    """Whether a linear layer reads what another wrote, and nothing but linear layers does either."""
    touched = {(weights[name].kind, axis == weights[name].out_axis) for name, axis in axes if name in weights}
    return touched == {("linear", True), ("linear", False)}


def _in_attention(labels: Labels) -> bool:
    """Whether the labels run along the heads of an attention."""
    return any(key[0].node.target in _ATTENTION for key in labels.axes)


def _output_sources(ties: Ties, origins: Origins, weights: Mapping[str, Weight]) -> Iterator[tuple[str, VariableKey]]:
    """The variable of the outputs of every layer."""
    for node, application in ties.calls.items():
        for link in application.relation.links:
            name, transposed = origins.get(str(link.value.node.target), ("", False))
            weight = weights.get(name) if link.value.node.op == "get_attr" else None
            if weight is not None and len(link.parts) == 1 and link.axis == (weight.out_axis ^ transposed):
                yield name, (node, link.parts[0][0])


def _head_sources(ties: Ties, origins: Origins) -> Iterator[tuple[str, VariableKey]]:
    """The outer factors of every axis that a reshape splits; the smallest first: shared keys come before queries."""
    found = []
    for node, application in ties.calls.items():
        for link in application.relation.links:
            if not link.is_output and len(link.parts) > 1 and node.target is aten.reshape.default:
                outer = [name for name, index in link.parts[:-1] if bool((index >= 0).all())]
                found += [
                    (application.relation.sizes[name], _layer_before(node, origins), (node, name)) for name in outer
                ]
    for _, layer, source in sorted(found, key=lambda each: each[0]):
        yield layer, source


def _layer_before(node: Node, origins: Origins) -> str:
    """A name for heads: that of the weight which computes what is split."""
    while node.op == "call_function":
        named = [str(each.target) for each in node.all_input_nodes if each.op == "get_attr"]
        if named:
            return origins.get(named[0], (named[0], False))[0]
        node = node.all_input_nodes[0]
    return node.name

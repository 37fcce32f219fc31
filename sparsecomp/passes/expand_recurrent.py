"""LSTM and GRU layers become linear layers over the whole sequence and scans over the states."""

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

import sparsecomp.ops_recurrent  # noqa: F401  registers torch.ops.sparsecomp
from sparsecomp.program import Program, origin

aten = torch.ops.aten
_ZEROS = (aten.zeros.default, aten.zeros_like.default, aten.new_zeros.default)


@dataclass(frozen=True)
class ExpandRecurrent:
    """Take the products with the input out of the recurrence.

    Before: ``y, h, c = lstm(x, [h0, c0], weights, ...)``, several layers and directions in one call. After, for each
    layer: ``g = linear(x, w_ih, b_ih + b_hh); x, h, c = sparsecomp.lstm_scan(g, w_hh, h0, c0)``. Both directions of a
    layer share the linear and the scan; initial states of zeros are left out. Layers with a projection stay.
    """

    name: str = "expand-recurrent"

    def apply(self, program: Program) -> bool:
        """See the class."""
        changed = False
        for node in program.calls(aten.lstm.input, aten.gru.input):
            if _is_plain(program, node):
                _expand(program, node)
                changed = True
        return changed


@dataclass(frozen=True)
class _Call:
    """One recurrent call, its arguments by name."""

    program: Program
    node: fx.Node
    x: fx.Node
    initial: tuple[fx.Node, ...]
    weights: tuple[fx.Node, ...]
    has_biases: bool
    layers: int
    directions: int
    batch_first: bool

    @staticmethod
    def of(program: Program, node: fx.Node) -> "_Call":
        arguments: tuple[Any, ...] = node.args
        x, initial, weights, has_biases, layers, _, _, bidirectional, batch_first = arguments
        states = (initial,) if isinstance(initial, fx.Node) else tuple(initial)
        directions = 2 if bidirectional else 1
        return _Call(program, node, x, states, tuple(weights), has_biases, layers, directions, batch_first)

    @property
    def is_lstm(self) -> bool:
        return self.node.target is aten.lstm.input

    def parameters(self, layer: int) -> list[list[Tensor]]:
        """The tensors of each kind: w_ih, w_hh[, b_ih, b_hh], each a list over the directions."""
        kinds = 4 if self.has_biases else 2
        first = layer * self.directions * kinds
        own = [self.program.weight(node) for node in self.weights[first : first + self.directions * kinds]]
        return [own[kind::kinds] for kind in range(kinds)]

    def emit(self, target: Any, *args: Any) -> fx.Node:
        with self.program.graph.inserting_before(self.node):
            call = self.program.graph.call_function(target, args)
        call.meta = origin(self.node)
        return call

    def constant(self, name: str, tensor: Tensor) -> fx.Node:
        return self.program.add_weight(name, tensor, before=self.node)


def _is_plain(program: Program, node: fx.Node) -> bool:
    """Inference in float32 over weights of the program, without projection."""
    call = _Call.of(program, node)
    dropped = bool(node.args[6]) and bool(node.args[5])
    per_layer = (4 if call.has_biases else 2) * call.directions
    known = all(program.is_weight(weight) for weight in call.weights)
    real = all(value.meta["val"].dtype == torch.float32 for value in (call.x, *call.initial, *call.weights))
    return not dropped and known and real and len(call.weights) == per_layer * call.layers


def _expand(program: Program, node: fx.Node) -> None:
    call = _Call.of(program, node)
    x, last = call.x, []
    for layer in range(call.layers):
        results = _layer(call, layer, x)
        x = results[0]
        last.append(results[1:])
    finals = [
        states[0] if len(states) == 1 else call.emit(aten.cat.default, list(states))
        for states in zip(*last, strict=True)
    ]
    for reader in list(node.users):
        assert reader.target is operator.getitem
        reader.replace_all_uses_with([x, *finals][reader.args[1]])  # type: ignore[index]
        program.graph.erase_node(reader)
    program.graph.erase_node(node)


def _layer(call: _Call, layer: int, x: fx.Node) -> list[fx.Node]:
    """Outputs and last states of one layer."""
    w_ih, w_hh, *biases = call.parameters(layer)
    name = f"{call.node.name}.layer{layer}"
    recurrent = call.constant(f"{name}.recurrent", torch.stack(w_hh))
    bias, inner = _biases(call, biases)
    gates = call.emit(
        aten.linear.default,
        x,
        call.constant(f"{name}.weight", torch.cat(w_ih)),
        None if bias is None else call.constant(f"{name}.bias", bias),
    )
    states = [_initial(call, state, layer) for state in call.initial]
    if call.is_lstm:
        scan = call.emit(torch.ops.sparsecomp.lstm_scan.default, gates, recurrent, *states, call.batch_first)
    else:
        new = None if inner is None else call.constant(f"{name}.bias_new", inner)
        scan = call.emit(torch.ops.sparsecomp.gru_scan.default, gates, recurrent, new, *states, call.batch_first)
    return [call.emit(operator.getitem, scan, index) for index in range(1 + len(states))]


def _biases(call: _Call, biases: list[list[Tensor]]) -> tuple[Tensor | None, Tensor | None]:
    """The bias of the linear layer; for a GRU also that of the state's part of the new gate."""
    if not biases:
        return None, None
    inputs, states = (torch.stack(kind) for kind in biases)
    if call.is_lstm:
        return (inputs + states).flatten(), None
    hidden = states.shape[1] // 3
    outer = states.clone()
    outer[:, 2 * hidden :] = 0
    return (inputs + outer).flatten(), states[:, 2 * hidden :].contiguous()


def _initial(call: _Call, state: fx.Node, layer: int) -> fx.Node | None:
    if state.target in _ZEROS:
        return None
    if call.layers == 1:
        return state
    first = layer * call.directions
    return call.emit(aten.slice.Tensor, state, 0, first, first + call.directions)

"""What others remove from the same masked networks, and how exactly: ``python -m benchmarks.peers``.

Peers: OpenVINO's pruning transformation, and torch-pruning, whose dependency graph says which channels are coupled;
what is zero in all coupled layers is cut there. A peer that is missing or fails is reported with its error.
"""

import argparse
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from benchmarks import engines, zoo
from benchmarks.removal import all_channels
from benchmarks.structured import GROUPS, zero_slices
from benchmarks.zoo import Inputs
from sparsecomp import simplify
from sparsecomp.capture import capture
from sparsecomp.passes import Canonicalize, run
from sparsecomp.program import Program

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
_LAYERS = (nn.Linear, nn.ConvTranspose2d, *_CONVOLUTIONS)
_KINDS = (*_LAYERS, Conv1D)

Found = tuple[int, int, list[np.ndarray]]
"""Result channels of all layers before and after, and the outputs after."""


@dataclass(frozen=True)
class Peer:
    """What one tool removed.

    Attributes:
        tool: its name.
        removed: result channels of linear layers and convolutions that went.
        error: relative error of the outputs against the masked network.
        failure: why there are no figures; empty if there are.
    """

    tool: str
    removed: int = 0
    error: float = 0.0
    failure: str = ""


def ours(network: nn.Module, inputs: Inputs) -> Found:
    """`sparsecomp.simplify`."""
    program = capture(network, inputs.args, inputs.kwargs)
    run((Canonicalize(),), program)
    small = simplify(network, inputs.args, inputs.kwargs)
    after = all_channels(Program(small, inputs.args, inputs.kwargs))
    return all_channels(program), after, engines.leaves(small(*inputs.args, **inputs.kwargs))


def openvino(network: nn.Module, inputs: Inputs) -> Found:
    """OpenVINO's pruning transformation, after its usual ones, which fold batch norm."""
    import openvino as ov
    from openvino._offline_transformations import apply_moc_transformations, apply_pruning_transformation

    model = ov.convert_model(torch.export.export(network, inputs.args, inputs.kwargs))
    apply_moc_transformations(model, False)
    before = _openvino_channels(model)
    apply_pruning_transformation(model)
    program = ov.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    tensors = [each for each in (*inputs.args, *inputs.kwargs.values()) if isinstance(each, Tensor)]
    results = program([each.numpy() for each in tensors])
    return before, _openvino_channels(model), [results[output] for output in program.outputs]


def torch_pruning(network: nn.Module, inputs: Inputs) -> Found:
    """torch-pruning: channels that are zero in every layer that its dependency graph couples."""
    import torch_pruning as tp

    network = copy.deepcopy(network)
    example = inputs.args if inputs.args else dict(inputs.kwargs)
    with torch.enable_grad():  # it traces by autograd
        graph = tp.DependencyGraph().build_dependency(network, example_inputs=example)
    layers = [module for module in network.modules() if isinstance(module, _LAYERS)]
    before = sum(_results(layer) for layer in layers)
    for layer in layers:
        cut = graph.get_pruner_of_module(layer).prune_out_channels
        zero = (_rows(layer) == 0).all(dim=1).nonzero().flatten().tolist()
        dead = [index for index in zero if _all_zero(graph.get_pruning_group(layer, cut, idxs=[index]))]
        if dead and len(dead) < _results(layer):
            graph.get_pruning_group(layer, cut, idxs=dead).prune()
    outputs = engines.leaves(network(*inputs.args, **inputs.kwargs))
    return before, sum(_results(layer) for layer in layers), outputs


TOOLS: dict[str, Callable[[nn.Module, Inputs], Found]] = {
    "sparsecomp": ours,
    "openvino": openvino,
    "torch-pruning": torch_pruning,
}


@torch.no_grad()
def compare(name: str, share: float) -> tuple[int, list[Peer]]:
    """Zero ``share`` of the slices of a small network of the zoo; its zero channels, and what each tool does."""
    model = zoo.load(name, full=False)
    network, inputs = model.build(), model.inputs()
    zero_slices(GROUPS[name](network), share)
    expected = engines.leaves(network(*inputs.args, **inputs.kwargs))
    zero = sum(int((_rows(layer) == 0).all(dim=1).sum()) for layer in network.modules() if isinstance(layer, _KINDS))
    return zero, [_try(tool, network, inputs, expected) for tool in TOOLS]


def _try(tool: str, network: nn.Module, inputs: Inputs, expected: list[np.ndarray]) -> Peer:
    try:
        before, after, outputs = TOOLS[tool](network, inputs)
    except Exception as error:  # noqa: BLE001 - any failure of a peer is one entry of the table
        return Peer(tool, failure=f"{type(error).__name__}: {str(error).strip().splitlines()[0][:70]}")
    return Peer(tool, before - after, engines.relative_error(outputs[: len(expected)], expected))


def _rows(layer: Any) -> Tensor:
    """The weight by result channel."""
    weight: Tensor = layer.weight.detach()
    return (weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d | Conv1D) else weight).flatten(1)


def _results(layer: Any) -> int:
    return len(_rows(layer))


def _all_zero(group: Any) -> bool:
    """Whether the channels that a group of torch-pruning would cut are zero in all layers that compute them."""
    cuts = ((item.dep.target.module, item.dep.handler.__name__, item.idxs) for item in group)
    return all(
        not isinstance(module, _LAYERS) or "out_channels" not in how or bool((_rows(module)[idxs] == 0).all())
        for module, how, idxs in cuts
    )


def _openvino_channels(model: Any) -> int:
    found = 0
    for op in model.get_ops():
        kind = op.get_type_name()
        if kind in ("Convolution", "GroupConvolution", "ConvolutionBackpropData"):
            found += op.get_output_partial_shape(0)[1].get_length()
        elif kind == "MatMul" and op.input_value(1).get_node().get_type_name() == "Constant":
            found += op.get_output_partial_shape(0)[-1].get_length()
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(GROUPS), choices=list(GROUPS))
    parser.add_argument("--share", type=float, default=0.5)
    options = parser.parse_args(argv)
    table = Table("model", "zero", *TOOLS)
    for name in options.models:
        zero, peers = compare(name, options.share)
        cells = [peer.failure or f"{peer.removed} (error {peer.error:.0e})" for peer in peers]
        table.add_row(name, str(zero), *cells)
    Console().print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

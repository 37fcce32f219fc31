"""How much of what can go is removed, how fast, and how exactly: ``python -m benchmarks.removal``.

For every network 30, 50 and 70 % of its channels, heads or neurons are zeroed (`benchmarks.structured`), then removed.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import torch
from rich.console import Console
from rich.table import Table
from torch.fx import Node

from benchmarks import zoo
from benchmarks.live import live_work
from benchmarks.structured import GROUPS, zero_slices
from sparsecomp.capture import capture
from sparsecomp.passes import Canonicalize, EliminateDead, FoldBatchNorm, FoldConstants
from sparsecomp.passes.remove_dead_slices import RemoveDeadSlices
from sparsecomp.program import Program, relative_error

aten = torch.ops.aten
SHARES = (0.3, 0.5, 0.7)
_BEFORE = (Canonicalize(), FoldConstants(), FoldBatchNorm(), EliminateDead())
_CHANNEL_AXIS: dict[object, int] = {
    aten.linear.default: 0,
    aten.conv2d.default: 0,
    aten.conv1d.default: 0,
    aten.conv_transpose2d.input: 1,
}


@dataclass(frozen=True)
class Removal:
    """What removal did to one network.

    Attributes:
        model: its name in the zoo.
        share: fraction of the slices of each group that were zeroed.
        zero: result channels of linear layers and convolutions whose weights are all zero.
        removed: how many of these layers' result channels went.
        parameters: fraction of the parameters of these layers that is left.
        live_parameters: fraction that has to be left (`benchmarks.live`).
        macs: fraction of multiply-adds that is left.
        live_macs: fraction that has to be left.
        error: relative error of the outputs.
        seconds: processor time of the pass.
    """

    model: str
    share: float
    zero: int
    removed: int
    parameters: float
    live_parameters: float
    macs: float
    live_macs: float
    error: float
    seconds: float


def remove(name: str, share: float, full: bool) -> Removal:
    """Zero ``share`` of the slices of a network of the zoo and remove them."""
    model = zoo.load(name, full=full)
    network = model.build()
    zero_slices(GROUPS[name](network), share)
    live = live_work(network, model.inputs(2))
    inputs = model.inputs()
    program = capture(network, inputs.args, inputs.kwargs)
    for each in _BEFORE:
        each.apply(program)
        program.finish()
    expected = program.example_outputs()
    zero, channels = zero_channels(program), all_channels(program)
    parameters, macs = size(program), multiply_adds(program)
    start = time.process_time()
    RemoveDeadSlices().apply(program)
    return Removal(
        model=name,
        share=share,
        zero=zero,
        removed=channels - all_channels(program),
        parameters=size(program) / parameters,
        live_parameters=live.live_parameters / live.parameters,
        macs=multiply_adds(program) / macs,
        live_macs=live.live_macs / live.macs,
        seconds=time.process_time() - start,
        error=relative_error(program.example_outputs(), expected),
    )


def _layers(program: Program) -> list[tuple[Node, torch.Tensor]]:
    """Linear layers and convolutions with their weights, channels first."""
    found = []
    for node in program.calls(*_CHANNEL_AXIS):
        weight = node.args[1]
        assert isinstance(weight, Node)
        if program.is_weight(weight):
            found.append((node, program.weight(weight).movedim(_CHANNEL_AXIS[node.target], 0)))
    return found


def zero_channels(program: Program) -> int:
    """Result channels whose weights are all zero."""
    return sum(int((weight.flatten(1) == 0).all(dim=1).sum()) for _, weight in _layers(program))


def all_channels(program: Program) -> int:
    """Result channels of all layers."""
    return sum(len(weight) for _, weight in _layers(program))


def size(program: Program) -> int:
    """Elements of the weights of all layers."""
    return sum(weight.numel() for _, weight in _layers(program))


def multiply_adds(program: Program) -> int:
    """Multiply-adds of linear layers and convolutions for the example inputs."""
    total = 0
    for node, weight in _layers(program):
        transposed = node.target is aten.conv_transpose2d.input
        source = node.args[0] if transposed else node
        assert isinstance(source, Node)
        positions = source.meta["val"].numel()
        per_position = weight[0].numel() if not transposed else len(weight) * weight[0, 0].numel()
        total += int(positions) * per_position
    return total


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(GROUPS), choices=list(GROUPS))
    parser.add_argument("--shares", nargs="+", type=float, default=list(SHARES))
    parser.add_argument("--small", action="store_true", help="the sizes of the tests")
    options = parser.parse_args(argv)
    table = Table(*(field.name.replace("_", " ") for field in fields(Removal)))
    for name in options.models:
        for share in options.shares:
            figures = asdict(remove(name, share, full=not options.small))
            table.add_row(*(f"{each:.3g}" if isinstance(each, float) else str(each) for each in figures.values()))
    Console().print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

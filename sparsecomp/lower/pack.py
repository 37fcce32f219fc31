"""Weights into the buffers of their kernels: the last rewrite before Relax."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import fx

import sparsecomp.ops_recurrent  # noqa: F401  registers torch.ops.sparsecomp
from sparsecomp.kernels import scan
from sparsecomp.kernels.problem import LinearProblem, Problem
from sparsecomp.kernels.row_panel import pack
from sparsecomp.kernels.schedule import Schedule
from sparsecomp.lower.decide import Decision
from sparsecomp.passes import EliminateDead
from sparsecomp.program import Program, arguments

_SCANS = (torch.ops.sparsecomp.lstm_scan.default, torch.ops.sparsecomp.gru_scan.default)


@dataclass(frozen=True)
class Packed:
    """What a ``sparsecomp.packed`` node runs."""

    problem: Problem
    schedule: Schedule


def pack_weights(program: Program, decisions: Mapping[str, Decision]) -> dict[str, Packed]:
    """Replace each operator that has a kernel by ``sparsecomp.packed`` over packed buffers, in place.

    Scans keep their operator and get a packed weight.

    Args:
        program: what is lowered; it cannot be called afterwards.
        decisions: by the name of the node.

    Returns:
        Problem and schedule of each packed node, by the key that is its last argument.
    """
    kernels: dict[str, Packed] = {}
    buffers: dict[tuple[str, Packed], list[fx.Node]] = {}
    for node in list(program.graph.nodes):
        decision = decisions.get(node.name)
        if decision is not None and decision.chosen is not None and decision.problem is not None:
            kernel = Packed(decision.problem, decision.chosen.schedule)
            kernels[repr(kernel)] = kernel
            _replace(program, node, kernel, buffers)
    for node in program.calls(*_SCANS):
        weight = node.args[1]
        assert isinstance(weight, fx.Node)
        array = torch.from_numpy(scan.pack(program.weight(weight).numpy()))
        node.update_arg(1, program.add_weight(f"{weight.target}.packed", array, before=node))
    EliminateDead().apply(program)
    program.graph.lint()
    program.module.recompile()
    return kernels


def _replace(program: Program, node: fx.Node, kernel: Packed, buffers: dict[tuple[str, Packed], list[fx.Node]]) -> None:
    x, weight, bias, residual = node.args[:4]
    assert isinstance(weight, fx.Node)
    name = str(weight.target)
    if (name, kernel) not in buffers:  # a weight that is shared is packed once
        arrays = pack(program.weight(weight).numpy(), kernel.problem, kernel.schedule)
        tensors = [torch.from_numpy(array) for array in arrays]
        first = next(iter(program.graph.nodes))
        buffers[name, kernel] = [
            program.add_weight(f"{name}.packed{index}", tensor, before=first) for index, tensor in enumerate(tensors)
        ]
    extra = [value for value in (bias, residual) if value is not None]
    value = _as_stored(node.meta["val"], kernel.problem)
    shape = [size if isinstance(size, int) else -1 for size in value.shape]
    with program.graph.inserting_before(node):
        arguments = (x, buffers[name, kernel], extra, shape, repr(kernel))
        packed = program.graph.call_function(torch.ops.sparsecomp.packed.default, arguments)
    packed.meta = {**node.meta, "val": value}
    node.replace_all_uses_with(packed)
    program.graph.erase_node(node)
    packed.name = node.name  # so that a profile of the machine code finds its way back


def _as_stored(value: torch.Tensor, problem: Problem) -> torch.Tensor:
    """The result of a kernel, in tiles where it stays in them."""
    if not isinstance(problem, LinearProblem) or not problem.y_tile:
        return value
    assert problem.tokens is not None
    return value.new_empty(-(-problem.tokens // problem.y_tile), problem.out_features, problem.y_tile)


def stored_bytes(program: Program) -> dict[str, int]:
    """After `pack_weights`: for each packed node the bytes of its buffers."""
    found = {}
    for node in program.calls(torch.ops.sparsecomp.packed.default):
        buffers = [buffer.meta["val"] for buffer in arguments(node)["weight"]]
        found[node.name] = sum(buffer.numel() * buffer.element_size() for buffer in buffers)
    return found

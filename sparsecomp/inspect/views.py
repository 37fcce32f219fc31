"""A program as plain data: one entry a node, the same for every run."""

from collections.abc import Hashable

import torch
from torch import fx
from torch.utils import _pytree as pytree

from sparsecomp.inspect.graph import GraphView, ViewNode
from sparsecomp.inspect.graph import node as view_node
from sparsecomp.printer import target_text, type_text
from sparsecomp.program import Program, layer_path
from sparsecomp.rules.call import Value, outputs_of
from sparsecomp.rules.propagate import Reads, applications, constants, readers
from sparsecomp.rules.table import FactTable

Densities = dict[tuple[Hashable, ...], float | None]
"""By the place of a tensor in memory, its sizes, strides and type; all of them are alive."""


def view_of(program: Program, stage: str, facts: bool = False, seen: Densities | None = None) -> GraphView:
    """The graph of a program.

    Args:
        program: at any stage between capture and lowering.
        stage: what to call it.
        facts: also say what is known of every tensor, which takes about as long as one round of removal.
        seen: densities that are known, by what a module holds; those that this program adds are entered.
    """
    known = facts_of(program) if facts else {}
    densities = {node: _density(program, node, {} if seen is None else seen) for node in _weights(program)}
    return {"stage": stage, "nodes": [_entry(node, densities, known) for node in program.graph.nodes]}


def _entry(node: fx.Node, densities: dict[fx.Node, float | None], known: dict[fx.Node, str]) -> ViewNode:
    if node.op == "output":
        results = [value.name for value in pytree.tree_leaves(node.args[0]) if isinstance(value, fx.Node)]
        return view_node(node.name, "output", inputs=results)
    type_, facts = type_text(node.meta.get("val")), known.get(node, "")
    if node.op == "placeholder":
        return view_node(node.name, "input", node.name, type=type_, facts=facts)
    if node.op == "get_attr":
        return view_node(node.name, "weight", str(node.target), _owner(node), type_, densities[node], facts)
    weights = [source for source in node.all_input_nodes if source in densities]
    largest = max(weights, key=lambda weight: weight.meta["val"].numel(), default=None)
    return view_node(
        node.name,
        "call",
        target_text(node),
        layer_path(node),
        type_,
        densities[largest] if largest is not None and largest.meta["val"].dim() > 1 else None,
        facts,
        [source.name for source in node.all_input_nodes if source not in densities],
        [weight.name for weight in weights],
    )


def _owner(weight: fx.Node) -> str:
    """The module that holds it; for a weight that a pass made, the first that reads it."""
    return str(weight.target).rpartition(".")[0] or next((layer_path(user) for user in weight.users), "")


def _weights(program: Program) -> list[fx.Node]:
    return list(program.graph.find_nodes(op="get_attr"))


def _density(program: Program, node: fx.Node, seen: Densities) -> float | None:
    """Rounded, so that dumps are short and equal between machines."""
    tensor = program.weight(node)
    key = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
    if key not in seen:
        seen[key] = round(int(torch.count_nonzero(tensor)) / tensor.numel(), 6) if tensor.numel() else None
    return seen[key]


def facts_of(program: Program) -> dict[fx.Node, str]:
    """For each node with anything to say what is constant, equal to something else, or read by nobody, in words."""
    calls = applications(program.module)
    table = constants(program.module, calls)
    reads = readers(program.module, calls, table)
    words = {node: _words(node, table, reads) for node in program.graph.nodes}
    return {node: text for node, text in words.items() if text}


def _words(node: fx.Node, table: FactTable, reads: Reads) -> str:
    parts = [
        _axis_words(value, axis, table, reads)
        for value in outputs_of(node)
        for axis in range(len(value.shape))
        if value.size(axis)
    ]
    return "; ".join(part for part in parts if part)


def _axis_words(value: Value, axis: int, table: FactTable, reads: Reads) -> str:
    known, size = table.axis(value, axis), value.size(axis)
    counts: dict[str, int] = {}
    if known is not None:
        repeated = (known.classes != torch.arange(known.size)) & ~known.constant
        counts = {"zero": int(known.zero.sum())}
        if value.node.op != "get_attr" or len(value.shape) > 1:  # a single number is constant by its nature
            counts["constant"] = int((known.constant & ~known.zero).sum())
            counts["equal"] = int(repeated.sum())
    if (value, axis) in reads:
        counts["unread"] = int((~reads[value, axis]).sum())
    found = [f"{count} {name}" for name, count in counts.items() if count]
    place = f"axis {axis}" if value.position == 0 else f"output {value.position} axis {axis}"
    return f"{place}: {', '.join(found)} of {size}" if found else ""

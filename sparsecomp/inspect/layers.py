"""One row for each layer of the user's model: what was found in its weight, what was decided, what it costs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, fx

from sparsecomp.inspect.patterns import pattern_of, preview
from sparsecomp.inspect.work import dense_seconds, roofline_seconds, work_of
from sparsecomp.kernels.schedule import (
    ChannelSchedule,
    ColumnSchedule,
    FeatureSchedule,
    Schedule,
    StripSchedule,
    WinogradSchedule,
    WinogradTileSchedule,
    is_sparse,
)
from sparsecomp.lower import Decision, Trace
from sparsecomp.program import Program, layer_name
from sparsecomp.targets.base import Target

aten = torch.ops.aten
OPERATORS: dict[Any, str] = {
    aten.linear.default: "linear",
    aten.conv1d.default: "conv1d",
    aten.conv2d.default: "conv2d",
    aten.conv3d.default: "conv3d",
    aten.conv_transpose1d.default: "conv_transpose1d",
    aten.conv_transpose2d.input: "conv_transpose2d",
    aten.conv_transpose3d.input: "conv_transpose3d",
    aten.embedding.default: "embedding",
    aten.lstm.input: "lstm",
    aten.gru.input: "gru",
    aten.rnn_tanh.input: "rnn",
    aten.rnn_relu.input: "rnn",
    aten.matmul.default: "matmul",
    aten.mm.default: "matmul",
    aten.bmm.default: "matmul",
    aten.addmm.default: "linear",
    torch.ops.sparsecomp.linear.default: "linear",
    torch.ops.sparsecomp.conv.default: "conv",
}
"""Operators whose weights are layers; what is merely added or multiplied is none."""


@dataclass(frozen=True)
class Use:
    """A call that reads a weight of at least two axes."""

    program: Program
    node: fx.Node
    weight: fx.Node

    @property
    def layer(self) -> str:
        """Path of the module."""
        return layer_name(self.node)

    @property
    def name(self) -> str:
        """Of the parameter, as far as passes keep it."""
        return re.sub(r"_\d+$", "", str(self.weight.target).replace(".", "_"))

    @property
    def tensor(self) -> Tensor:
        """The weight."""
        return self.program.weight(self.weight)


def uses_of(program: Program) -> list[Use]:
    """All of them, in order."""
    found = []
    for node in program.calls():
        weights = [each for each in node.all_input_nodes if program.is_weight(each) and each.meta["val"].dim() > 1]
        if weights and (node.target in OPERATORS or "sparsecomp" in str(node.target)):
            found.append(Use(program, node, max(weights, key=lambda each: each.meta["val"].numel())))
    return found


def paired(captured: Sequence[Use], fused: Sequence[Use]) -> list[tuple[Use, list[Use]]]:
    """For each call of the model the calls that it has become; last, calls that belong to none.

    A call of the same layer over the parameter of the same name, else all calls that are left of a layer which had one.
    """
    left = list(fused)
    pairs: list[tuple[Use, list[Use]]] = []
    for use in captured:
        exact = [each for each in left if (each.layer, each.name) == (use.layer, use.name)][:1]
        left = [each for each in left if each not in exact]
        pairs.append((use, exact))
    for use, found in pairs:
        if not found:
            found += [each for each in left if each.layer == use.layer]
            left = [each for each in left if each not in found]
    return pairs + [(use, [use]) for use in left]


def layer_rows(
    captured: Program,
    fused: Program,
    decisions: Mapping[str, Decision],
    stored: Mapping[str, int],
    calls: Trace,
    target: Target,
) -> list[dict[str, Any]]:
    """The rows, in the order of the model; `report.schema.json` describes the entries.

    Args:
        captured: the program as it was captured.
        fused: after the last pass.
        decisions: by the name of the node in ``fused``.
        stored: by the same, the bytes of the packed weight.
        calls: what runs.
        target: the device.
    """
    functions = {name: call for call in calls.calls for name in call.nodes}
    rows = []
    for use, became in paired(uses_of(captured), uses_of(fused)):
        found = [decisions[each.node.name] for each in became if each.node.name in decisions]
        row = _found(use) | _changed(use, became) | _chosen(became, found, functions)
        row |= _times(found, use, became, target, fused.parts.count)
        row["bytes_before"] = _nbytes(use.tensor)
        row["bytes_after"] = sum(stored.get(each.node.name, _nbytes(each.tensor)) for each in became)
        rows.append(row)
    total = sum(row["measured"] or row["predicted"] or 0.0 for row in rows)
    for row in rows:
        time = row["measured"] or row["predicted"]
        row["share"] = time / total if time and total else None
    return rows


def _nbytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _found(use: Use) -> dict[str, Any]:
    """What the model has."""
    pattern = pattern_of(use.tensor)
    return {
        "layer": use.layer,
        "weight": str(use.weight.target),
        "op": OPERATORS.get(use.node.target, str(use.node.target)),
        "shape": list(use.tensor.shape),
        "pattern": str(pattern),
        "density": round(pattern.density, 6),
        "preview": preview(use.tensor),
    }


def _changed(use: Use, became: Sequence[Use]) -> dict[str, Any]:
    """What removal took."""
    after = became[0].tensor if len(became) == 1 else None
    alike = after is not None and after.dim() == use.tensor.dim() and "transpose" not in str(use.node.target)
    lost = (
        [a - b for a, b in zip(use.tensor.shape, after.shape, strict=True)] if alike and after is not None else [0, 0]
    )
    return {
        "nodes": [each.node.name for each in became],
        "shape_after": None if after is None else list(after.shape),
        "outputs_removed": max(lost[0], 0),
        "inputs_removed": max(lost[1], 0),
    }


def _chosen(became: Sequence[Use], found: Sequence[Decision], functions: Mapping[str, Any]) -> dict[str, Any]:
    """How it runs. A layer that has become several calls shows the first."""
    call = next((functions[each.node.name] for each in became if each.node.name in functions), None)
    first = found[0] if found else None
    schedule = first.chosen.schedule if first is not None and first.chosen is not None else None
    reason = first.reason if first is not None else "no kernel of ours takes this operator"
    if not became:
        reason = "removed: what it computes is constant, or nobody reads it"
    zeros = any(int(torch.count_nonzero(each.tensor)) < each.tensor.numel() for each in became)
    return {
        "format": format_name(schedule) if became else "",
        "kernel": (kernel_name(schedule) or (call.rule if call else "")) if became else "",
        "schedule": None if schedule is None else asdict(schedule),
        "function": call.function if call else "",
        "reason": reason,
        "dense": reason if zeros and not is_sparse(schedule) else "",
    }


def format_name(schedule: Schedule | None) -> str:
    """How a kernel stores its weight, in words."""
    match schedule:
        case ColumnSchedule(sparse=True, rows=1):
            return "CSR" if schedule.slice == 1 else f"CSR in slices of {schedule.slice}"
        case ColumnSchedule(sparse=True):
            return f"panels of {schedule.rows}x1" + (" of similar rows" if schedule.clustered else "")
        case None:
            return "dense"
    return "dense panels"


def kernel_name(schedule: Schedule | None) -> str:
    """Which of the kernels it is; empty for none."""
    names = {
        ColumnSchedule: "column",
        FeatureSchedule: "feature",
        ChannelSchedule: "channel",
        StripSchedule: "strip",
        WinogradSchedule: "winograd",
        WinogradTileSchedule: "winograd",
    }
    return "" if schedule is None else names[type(schedule)]


def _times(found: Sequence[Decision], use: Use, became: Sequence[Use], target: Target, parts: int) -> dict[str, Any]:
    work = work_of(use.node, use.tensor)
    chosen = [each.chosen for each in found if each.chosen is not None]
    known = chosen and len(chosen) == len(became)
    predicted = parts * sum(each.predicted for each in chosen) if known else None
    timed = known and all(each.measured is not None for each in chosen)
    measured = parts * sum(each.measured or 0.0 for each in chosen) if timed else None
    time = measured or predicted
    dense = dense_seconds(found, tuple(use.tensor.shape), target) if known else None
    return {
        "predicted": predicted,
        "measured": measured,
        "dense_predicted": None if dense is None else parts * dense,
        "macs": work.nonzero,
        "macs_dense": work.dense,
        "gflops": 2 * work.nonzero / time / 1e9 if time else None,
        "roofline": min(roofline_seconds(work, target) / time, 1.0) if time else None,
    }

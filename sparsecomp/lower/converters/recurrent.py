"""Recurrent layers, their weights packed: calls of the scan kernel."""

from typing import Any

import torch
from torch import fx

import sparsecomp.ops_recurrent  # noqa: F401  registers torch.ops.sparsecomp
from sparsecomp.kernels import scan
from sparsecomp.lower.context import Context


def _lstm(node: fx.Node, context: Context) -> Any:
    gates, weight, h0, c0, batch_first = node.args
    return _scan(node, context, "lstm", (gates, weight, h0, c0), bool(batch_first))


def _gru(node: fx.Node, context: Context) -> Any:
    gates, weight, bias, h0, batch_first = node.args
    return _scan(node, context, "gru", (gates, weight, bias, h0), bool(batch_first))


def _scan(node: fx.Node, context: Context, cell: str, arguments: tuple[Any, ...], batch_first: bool) -> Any:
    """A tuple: outputs, then the last states."""
    values = node.meta["val"]
    directions, batch, hidden = values[1].shape
    spec = scan.ScanSpec(
        cell=cell,
        directions=directions,
        batch=_known(batch),
        time=_known(values[0].shape[1 if batch_first else 0]),
        hidden=hidden,
        batch_first=batch_first,
        initial=tuple(state is not None for state in arguments[-scan.STATES[cell] :]),
        bias=cell == "gru" and arguments[2] is not None,
    )
    return context.call(
        ("scan", spec),
        lambda: scan.build(spec, context.target),
        [argument for argument in arguments if argument is not None],
        [context.type_of(value) for value in values],
        f"{cell}_scan",
    )


def _known(size: Any) -> int | None:
    return size if isinstance(size, int) else None


CONVERTERS: dict[Any, Any] = {
    torch.ops.sparsecomp.lstm_scan.default: _lstm,
    torch.ops.sparsecomp.gru_scan.default: _gru,
}

"""Our operators for recurrent layers: the part of a layer that must go step by step. Eager code gives their meaning.

The products of the whole input with the input weights do not depend on the state: they are an ordinary linear layer
before the scan, whose output, ``gates``, is ``[time, batch, directions * k * hidden]`` or, where ``batch_first`` is
set, ``[batch, time, directions * k * hidden]``, with ``k`` = 4 (LSTM) or 3 (GRU) gates in PyTorch's order. Direction 0
runs forward in time, direction 1 backward. States are ``[directions, batch, hidden]``; no initial state means zeros.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[[int, Tensor, list[Tensor]], list[Tensor]]
"""(direction, gates of one time [batch, k * hidden], states [batch, hidden]) -> new states; the first is the output."""


@torch.library.custom_op("sparsecomp::lstm_scan", mutates_args=())
def lstm_scan(
    gates: Tensor, weight: Tensor, h0: Tensor | None, c0: Tensor | None, batch_first: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """``weight [directions, 4 * hidden, hidden]`` -> outputs ``[.., .., directions * hidden]``, last h, last c."""

    def step(direction: int, x: Tensor, states: list[Tensor]) -> list[Tensor]:
        h, c = states
        i, f, g, o = (x + h @ weight[direction].t()).chunk(4, dim=-1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return [o.sigmoid() * c.tanh(), c]

    out, h, c = _scan(gates, weight, [h0, c0], batch_first, step)
    return out, h, c


@lstm_scan.register_fake
def _(
    gates: Tensor, weight: Tensor, h0: Tensor | None, c0: Tensor | None, batch_first: bool
) -> tuple[Tensor, Tensor, Tensor]:
    out, state = _fake(gates, weight, batch_first)
    return out, state, torch.empty_like(state)


@torch.library.custom_op("sparsecomp::gru_scan", mutates_args=())
def gru_scan(
    gates: Tensor, weight: Tensor, bias: Tensor | None, h0: Tensor | None, batch_first: bool
) -> tuple[Tensor, Tensor]:
    """``weight [directions, 3 * hidden, hidden]`` -> outputs ``[.., .., directions * hidden]``, last h.

    ``bias [directions, hidden]`` is added to the state's part of the new gate, which the reset gate multiplies.
    """

    def step(direction: int, x: Tensor, states: list[Tensor]) -> list[Tensor]:
        (h,) = states
        r, z, n = (h @ weight[direction].t()).chunk(3, dim=-1)
        x_r, x_z, x_n = x.chunk(3, dim=-1)
        update = (x_z + z).sigmoid()
        new = (x_n + (x_r + r).sigmoid() * (n if bias is None else n + bias[direction])).tanh()
        return [(1 - update) * new + update * h]

    out, h = _scan(gates, weight, [h0], batch_first, step)
    return out, h


@gru_scan.register_fake
def _(
    gates: Tensor, weight: Tensor, bias: Tensor | None, h0: Tensor | None, batch_first: bool
) -> tuple[Tensor, Tensor]:
    return _fake(gates, weight, batch_first)


def _scan(gates: Tensor, weight: Tensor, initial: list[Tensor | None], batch_first: bool, step: Step) -> list[Tensor]:
    """Outputs, then the last of each state."""
    steps = gates.transpose(0, 1) if batch_first else gates
    directions, _, hidden = weight.shape
    zeros = gates.new_zeros(directions, steps.shape[1], hidden)
    outputs, last = [], []
    for direction, part in enumerate(steps.chunk(directions, dim=-1)):
        states = [(zeros if state is None else state)[direction] for state in initial]
        order = range(len(part)) if direction == 0 else reversed(range(len(part)))
        kept = [part.new_empty(0)] * len(part)
        for time in order:
            states = step(direction, part[time], states)
            kept[time] = states[0]
        outputs.append(torch.stack(kept))
        last.append(states)
    out = torch.cat(outputs, dim=-1)
    finals = [torch.stack(list(states)) for states in zip(*last, strict=True)]
    return [out.transpose(0, 1).contiguous() if batch_first else out, *finals]


def _fake(gates: Tensor, weight: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
    directions, _, hidden = weight.shape
    batch = gates.shape[0] if batch_first else gates.shape[1]
    out = gates.new_empty(gates.shape[0], gates.shape[1], directions * hidden)
    return out, gates.new_empty(directions, batch, hidden)

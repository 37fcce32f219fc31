"""Our operators: linear and convolution with what follows them, as one call. Eager code gives their meaning.

``torch.ops.sparsecomp.linear`` and ``torch.ops.sparsecomp.conv`` compute ``activation(op(x, weight) + bias +
residual)``, or ``activation(op(x, weight) + bias) + residual`` where ``residual_last`` is set.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

ACTIVATIONS: dict[str, Callable[[Tensor, float, float], Tensor]] = {
    "": lambda x, _low, _high: x,
    "relu": lambda x, _low, _high: F.relu(x),
    "relu6": lambda x, _low, _high: F.relu6(x),
    "clamp": lambda x, low, high: x.clamp(low, high),
    "sigmoid": lambda x, _low, _high: torch.sigmoid(x),
    "tanh": lambda x, _low, _high: torch.tanh(x),
    "gelu": lambda x, _low, _high: F.gelu(x),
    "gelu_tanh": lambda x, _low, _high: F.gelu(x, approximate="tanh"),
    "silu": lambda x, _low, _high: F.silu(x),
    "hardswish": lambda x, _low, _high: F.hardswish(x),
    "hardsigmoid": lambda x, _low, _high: F.hardsigmoid(x),
}
"""What may follow a linear or convolution, by name; ``clamp`` alone reads the bounds."""


@torch.library.custom_op("sparsecomp::linear", mutates_args=())
def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    activation: str,
    low: float,
    high: float,
    residual_last: bool,
) -> Tensor:
    """``x [..., in]``, ``weight [out, in]``, ``bias [out]``, ``residual [..., out]`` -> ``[..., out]``."""
    return _finish(F.linear(x, weight, bias), residual, activation, low, high, residual_last)


@linear.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    activation: str,
    low: float,
    high: float,
    residual_last: bool,
) -> Tensor:
    return F.linear(x, weight, bias)


@torch.library.custom_op("sparsecomp::conv", mutates_args=())
def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    activation: str,
    low: float,
    high: float,
    residual_last: bool,
) -> Tensor:
    """1-D or 2-D convolution: ``x [batch, in, *size]``, ``weight [out, in / groups, *kernel]``, else as `linear`."""
    return _finish(
        _conv(x, weight, bias, stride, padding, dilation, groups), residual, activation, low, high, residual_last
    )


@conv.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    activation: str,
    low: float,
    high: float,
    residual_last: bool,
) -> Tensor:
    return _conv(x, weight, bias, stride, padding, dilation, groups)


def _conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
) -> Tensor:
    function: Callable[..., Tensor] = F.conv1d if weight.dim() == 3 else F.conv2d
    return function(x, weight, bias, stride, padding, dilation, groups)


def _finish(
    y: Tensor, residual: Tensor | None, activation: str, low: float, high: float, residual_last: bool
) -> Tensor:
    if residual is not None and not residual_last:
        y = y + residual
    result = ACTIVATIONS[activation](y, low, high)
    if residual is not None and residual_last:
        result = result + residual
    return result.clone() if result is y and residual is None and not activation else result


@torch.library.custom_op("sparsecomp::packed", mutates_args=())
def packed(x: Tensor, weight: list[Tensor], extra: list[Tensor], shape: list[int], kernel: str) -> Tensor:
    """A `linear` or `conv` whose weight lies in the buffers of its kernel; it exists only on the way to machine code.

    Args:
        x: the input.
        weight: the buffers.
        extra: bias and residual, those that there are.
        shape: of the output; -1 for sizes that are known at run time only.
        kernel: key of problem and schedule.
    """
    raise NotImplementedError("a packed operator has no eager form; call the program before packing")

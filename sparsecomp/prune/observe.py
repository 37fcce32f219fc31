"""What flows into each weight while the model runs on calibration data, summarised as it streams by.

The calls of linear and convolution functions are watched by a torch function mode, not by module hooks: so weights that
a module hands to a function (``nn.MultiheadAttention``), or that an exported program multiplies with, are seen as well.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sparsecomp.errors import PruneError
from sparsecomp.passes.explicit_padding import same_padding
from sparsecomp.prune.data import Batch
from sparsecomp.prune.weights import Weight

aten = torch.ops.aten
ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class Use:
    """One call that multiplies with a weight.

    Attributes:
        x: the input.
        kernel, stride, padding, dilation: of a convolution, one entry a spatial axis; empty for a linear layer.
        groups: of a convolution.
    """

    x: Tensor
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1

    @property
    def positions(self) -> int:
        """How often each weight is used: rows of x, or pixels of the output over the batch."""
        if not self.kernel:
            return self.x.numel() // self.x.shape[-1]
        count = self.x.shape[0]
        for size, k, s, p, d in self._spatial():
            count *= (size + 2 * p - d * (k - 1) - 1) // s + 1
        return count

    def rows(self) -> Iterator[Tensor]:
        """The inputs as the weight's matrix meets them: ``[groups, positions, taps * inputs]``, an image at a time."""
        if not self.kernel:
            yield self.x.reshape(1, -1, self.x.shape[-1])
            return
        for image in self.x:
            yield self._unfold(image)

    def _spatial(self) -> Iterable[tuple[int, int, int, int, int]]:
        return zip(self.x.shape[2:], self.kernel, self.stride, self.padding, self.dilation, strict=True)

    def _unfold(self, image: Tensor) -> Tensor:
        ends = [end for p in reversed(self.padding) for end in (p, p)]
        windows = F.pad(image, ends)
        for axis, (_, k, s, _, d) in enumerate(self._spatial(), start=1):
            windows = windows.unfold(axis, d * (k - 1) + 1, s)[..., ::d]
        channels, dims = image.shape[0], len(self.kernel)
        grouped = windows.reshape(self.groups, channels // self.groups, *windows.shape[1:])
        order = (0, *range(2, 2 + 2 * dims), 1)  # group, positions, taps, channels
        return grouped.permute(order).reshape(self.groups, -1, math.prod(self.kernel) * grouped.shape[1])


def _linear(input: Tensor, weight: Tensor, bias: Any = None) -> tuple[Tensor, Use]:
    del bias
    return weight, Use(input)


def _addmm(bias: Tensor, x: Tensor, weight: Tensor, **_: Any) -> tuple[Tensor, Use]:
    del bias
    return weight, Use(x)


def _conv(
    input: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> tuple[Tensor, Use]:
    del bias
    dims = weight.dim() - 2
    kernel, dilations = tuple(weight.shape[2:]), _each(dilation, dims)
    if padding == "same":
        padding, ends = same_padding(kernel, dilations)
        input = F.pad(input, ends)
    padding = 0 if padding == "valid" else padding
    x = input if input.dim() == weight.dim() else input.unsqueeze(0)
    return weight, Use(x, kernel, _each(stride, dims), _each(padding, dims), dilations, groups)


def _each(value: Any, count: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    return values * count if len(values) == 1 else values


_READERS: dict[Any, Callable[..., tuple[Tensor, Use]]] = {
    F.linear: _linear,
    aten.linear.default: _linear,
    torch.addmm: _addmm,
    aten.addmm.default: _addmm,
    **dict.fromkeys((torch.conv1d, torch.conv2d, torch.conv3d), _conv),
    **dict.fromkeys((aten.conv1d.default, aten.conv2d.default, aten.conv3d.default), _conv),
    **dict.fromkeys((aten.conv1d.padding, aten.conv2d.padding, aten.conv3d.padding), _conv),
}


# A mode sees attention as one call, and none of those within it. This is the same code, which does not ask for modes.
_ATTENTION = FunctionType(
    F.multi_head_attention_forward.__code__,
    vars(F) | {"has_torch_function": lambda _: False},
    argdefs=F.multi_head_attention_forward.__defaults__,
)


class _Watch(TorchFunctionMode):
    def __init__(self, names: Mapping[int, str], see: Callable[[str, Use], None]) -> None:
        super().__init__()
        self.names, self.see = names, see

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        reader = _READERS.get(func)
        if reader is not None:
            weight, use = reader(*args, **(kwargs or {}))
            name = self.names.get(id(weight))
            if name is not None:
                self.see(name, use)
        if func is F.multi_head_attention_forward:
            with self:
                return _ATTENTION(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


@contextmanager
def watching(module: nn.Module, weights: Mapping[str, Weight], see: Callable[[str, Use], None]) -> Iterator[None]:
    """Call ``see`` with every use of one of the weights, just before it happens."""
    names = {id(module.get_parameter(name)): name for name in weights}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it hides its products
    try:
        with _Watch(names, see):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


class Statistic(Protocol):
    """What is kept of the inputs of one weight."""

    def add(self, rows: Tensor) -> None:
        """Take in ``[groups, positions, columns]``."""

    @property
    def sum(self) -> Tensor:
        """Of each column; finite if all the rows were."""


Kept = TypeVar("Kept", bound=Statistic)


def collect(
    module: nn.Module, weights: Mapping[str, Weight], batches: Iterable[Batch], make: Callable[[], Kept]
) -> dict[str, Kept]:
    """Run the model on all batches; a statistic for each weight that took part.

    Raises:
        PruneError: the model cannot be run on a batch, or computes NaN or infinite numbers.
    """
    found: dict[str, Kept] = {}

    def see(name: str, use: Use) -> None:
        statistic = found.setdefault(name, make())
        for rows in use.rows():
            statistic.add(rows.float())

    with torch.no_grad(), watching(module, weights, see):
        for batch in batches:
            run_batch(module, batch)
    broken = [name for name, statistic in found.items() if not bool(torch.isfinite(statistic.sum).all())]
    if broken:
        raise PruneError(f"prune: with this data NaN or infinite numbers flow into {', '.join(broken)}")
    return found


def run_batch(module: nn.Module, batch: Batch) -> Any:
    """The outputs of the model.

    Raises:
        PruneError: the model cannot be run on it.
    """
    try:
        return batch.run(module)
    except Exception as e:  # whatever a model raises on inputs that do not fit
        raise PruneError(f"prune: the model cannot be run on an item of data: {type(e).__name__}: {e}") from e


@dataclass
class Moments:
    """Count, sum, sum of squares and zeros of each column, ``[groups, columns]`` in float64."""

    count: int = 0
    total: Tensor | float = 0.0
    square: Tensor | float = 0.0
    zeros: Tensor | float = 0.0

    def add(self, rows: Tensor) -> None:
        """Take in ``[groups, positions, columns]``."""
        self.count += rows.shape[1]
        self.total = self.total + rows.sum(dim=1, dtype=torch.float64)
        self.square = self.square + rows.square().sum(dim=1, dtype=torch.float64)
        self.zeros = self.zeros + (rows == 0).sum(dim=1).double()

    @property
    def sum(self) -> Tensor:
        """Of each column."""
        return torch.as_tensor(self.total)

    @property
    def mean(self) -> Tensor:
        """Of each column."""
        return self.sum / self.count

    @property
    def variance(self) -> Tensor:
        """Of each column, over all positions."""
        return (torch.as_tensor(self.square) / self.count - self.mean.square()).clamp(min=0)


class Gram:
    """``X^T X`` of the rows seen, ``[groups, columns, columns]``: half the Hessian of the squared error; their sum.

    Rows are gathered before they are multiplied, since one product of many rows is faster than many of a few.
    """

    def __init__(self) -> None:
        self.count = 0
        self._waiting: list[Tensor] = []
        self._matrix: Tensor | None = None
        self._total: Tensor | None = None

    def add(self, rows: Tensor) -> None:
        """Take in ``[groups, positions, columns]``."""
        self.count += rows.shape[1]
        self._waiting.append(rows)
        if sum(each.shape[1] for each in self._waiting) >= ROWS_AT_ONCE:
            self._flush()

    @property
    def matrix(self) -> Tensor:
        """``X^T X``."""
        self._flush()
        assert self._matrix is not None
        return self._matrix

    @property
    def sum(self) -> Tensor:
        """The sum of the rows, ``[groups, columns]``."""
        self._flush()
        assert self._total is not None
        return self._total

    def _flush(self) -> None:
        if not self._waiting:
            return
        rows = torch.cat(self._waiting, dim=1)
        self._waiting.clear()
        if self._matrix is None or self._total is None:
            self._matrix = rows.new_zeros(rows.shape[0], rows.shape[2], rows.shape[2])
            self._total = rows.new_zeros(rows.shape[0], rows.shape[2])
        self._matrix.baddbmm_(rows.transpose(1, 2), rows)
        self._total += rows.sum(dim=1)

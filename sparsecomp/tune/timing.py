"""How one schedule is measured: real weights, aligned buffers, cold weights, in turns with the best so far.

What else a machine does, and how fast it runs at the moment, changes the time of a call by a third and more, from one
tenth of a second to the next. So the calls of two schedules alternate, and their ratio is the median of the ratios of
neighbouring calls. Of the same kernel measured against itself, that is within a hundredth of 1, where the ratio of the
minima is off by a tenth and more.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm

from sparsecomp.kernels.problem import Problem
from sparsecomp.kernels.row_panel import build, pack
from sparsecomp.kernels.schedule import Schedule
from sparsecomp.lower.machine_code import compile_kernel
from sparsecomp.targets import Target

SECONDS = 0.1  # that one schedule is called for
LEAST_CALLS = 15
MOST_CALLS = 400
HOPELESS = 3.0  # times slower than the best so far: the first calls say enough
FIRST_CALLS = 3
MOST_COPIES = 64
MOST_BYTES = 128 << 20  # of all copies of a weight
TOLERANCE = 1e-3


class WrongResultError(Exception):
    """The kernel computes something else."""


@dataclass(frozen=True)
class Layer:
    """A layer as a worker is told of it.

    Attributes:
        problem: what it computes.
        target: the device.
        directory: where `Task.write_operands` put its operands.
        passing: bytes of weights that pass through the caches between two calls of it in the whole network.
    """

    problem: Problem
    target: Target
    directory: Path
    passing: int


class Operands:
    """What all schedules of a layer read and write: in memory of TVM's, aligned as compiled code expects."""

    def __init__(self, layer: Layer) -> None:
        self.weight = np.load(layer.directory / "weight.npy")
        self.expected = np.load(layer.directory / "y.npy")
        self.x = _tensor(np.load(layer.directory / "x.npy"))
        extra = [layer.directory / f"{name}.npy" for name in ("bias", "residual")]
        self.extra = [_tensor(np.load(path)) for path in extra if path.exists()]
        self.y = _tensor(self.expected)


class Runner:
    """A kernel that is ready to be called, over as many copies of the weight as keep it from staying in a cache.

    In a network, the weights of the other layers pass through the caches between two calls of a layer, while its input
    has just been written. So each call reads the next copy of the weight, and the same input.

    Raises:
        WrongResultError: the kernel computes something else than PyTorch.
    """

    def __init__(self, layer: Layer, schedule: Schedule, operands: Operands) -> None:
        self._call = compile_kernel(build(layer.problem, schedule), layer.target)
        arrays = pack(operands.weight, layer.problem, schedule)
        nbytes = max(1, sum(array.nbytes for array in arrays))
        copies = max(1, min(MOST_COPIES, min(layer.passing, MOST_BYTES) // nbytes))
        packed = [[_tensor(array) for array in arrays] for _ in range(copies)]
        self._arguments = [(operands.x, *weight, *operands.extra, operands.y) for weight in packed]
        self._next = 0
        operands.y.copyfrom(np.full_like(operands.expected, np.nan))
        self()
        _check(operands.y.numpy(), operands.expected)

    def __call__(self) -> float:
        """Call it once; returns the seconds it took."""
        arguments = self._arguments[self._next]
        self._next = (self._next + 1) % len(self._arguments)
        begin = time.perf_counter()
        self._call(*arguments)
        return time.perf_counter() - begin


def compare(tried: Callable[[], float], best: Callable[[], float] | None = None) -> tuple[float, float | None]:
    """The seconds of a call of each, such that their ratio is the median of the ratios of neighbouring calls.

    Args:
        tried: calls what is measured, and returns the seconds.
        best: the same of what it is compared with.
    """
    if best is None:
        once = min(tried() for _ in range(FIRST_CALLS))
        return statistics.median(tried() for _ in range(_calls(once))), None
    pairs = [(tried(), best()) for _ in range(FIRST_CALLS)]
    once = min(first for first, _ in pairs)
    if once < HOPELESS * min(second for _, second in pairs):
        pairs = [(tried(), best()) for _ in range(_calls(once))]
    seconds = statistics.median(second for _, second in pairs)
    return seconds * statistics.median(first / second for first, second in pairs), seconds


def _calls(seconds: float) -> int:
    return max(LEAST_CALLS, min(MOST_CALLS, int(SECONDS / seconds)))


def _tensor(array: npt.NDArray[Any]) -> Any:
    return tvm.runtime.tensor(np.ascontiguousarray(array))


def _check(y: npt.NDArray[Any], expected: npt.NDArray[Any]) -> None:
    error = float(np.linalg.norm(y - expected)) / max(float(np.linalg.norm(expected)), 1e-30)
    if not error <= TOLERANCE:
        raise WrongResultError(f"it computes something else than PyTorch (relative error {error:.1e})")

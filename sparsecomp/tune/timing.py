"""How one schedule is measured: real weights, aligned buffers, cold weights, interleaved with the best so far."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm

from sparsecomp.kernels.problem import Problem
from sparsecomp.kernels.row_panel import build, pack
from sparsecomp.kernels.schedule import Schedule
from sparsecomp.lower.machine_code import NAME
from sparsecomp.targets import Target

ROUNDS = 6
SECONDS_A_ROUND = 0.006
LEAST_CALLS = 3
MOST_SECONDS = 4.0
HOPELESS = 4.0  # times slower than the best so far: the first calls say enough
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


class Runner:
    """A kernel that is ready to be called, over as many copies of the weight as keep it from staying in a cache.

    In a network, the weights of the other layers pass through the caches between two calls of a layer, while its input
    has just been written. So each call reads the next copy of the weight, and the same input.

    Raises:
        WrongResultError: the kernel computes something else than PyTorch.
    """

    def __init__(self, layer: Layer, schedule: Schedule) -> None:
        target = tvm.target.Target(layer.target.tvm_options())
        # The passes that make the machine code of a compile, by the name under which they are registered.
        self._call = tvm.compile(build(layer.problem, schedule), target=target, tir_pipeline=NAME)
        arrays = pack(np.load(layer.directory / "weight.npy"), layer.problem, schedule)
        nbytes = max(1, sum(array.nbytes for array in arrays))
        x, *extra = _tensors(_load(layer.directory, "x", "bias", "residual"))
        expected = _load(layer.directory, "y")[0]
        y = tvm.runtime.tensor(np.full_like(expected, np.nan))
        copies = max(1, min(MOST_COPIES, min(layer.passing, MOST_BYTES) // nbytes))
        self._arguments = [(x, *_tensors(arrays), *extra, y) for _ in range(copies)]
        self._next = 0
        self()
        _check(y.numpy(), expected)

    def __call__(self) -> float:
        """Call it once; returns the seconds it took."""
        arguments = self._arguments[self._next]
        self._next = (self._next + 1) % len(self._arguments)
        begin = time.perf_counter()
        self._call(*arguments)
        return time.perf_counter() - begin


def compare(runners: Sequence[Runner]) -> list[float]:
    """The least seconds of each: in turns, so that what else the machine does meets all alike."""
    least = [min(runner() for _ in range(2)) for runner in runners]  # the first calls find the threads asleep
    if least[0] > HOPELESS * min(least):
        return least
    end = time.perf_counter() + MOST_SECONDS
    for _ in range(ROUNDS):
        if time.perf_counter() > end:
            break
        for index, runner in enumerate(runners):
            calls = max(LEAST_CALLS, int(SECONDS_A_ROUND / least[index]))
            runner()  # brings the input into the caches and wakes the threads
            least[index] = min(least[index], *(runner() for _ in range(calls)))
    return least


def _tensors(arrays: Sequence[npt.NDArray[Any]]) -> list[Any]:
    """Copies in memory of TVM's, which is aligned to whole vectors, as compiled code expects."""
    return [tvm.runtime.tensor(np.ascontiguousarray(array)) for array in arrays]


def _load(directory: Path, *names: str) -> list[npt.NDArray[Any]]:
    paths = [directory / f"{name}.npy" for name in names]
    return [np.load(path) for path in paths if path.exists()]


def _check(y: npt.NDArray[Any], expected: npt.NDArray[Any]) -> None:
    error = float(np.linalg.norm(y - expected)) / max(float(np.linalg.norm(expected)), 1e-30)
    if not error <= TOLERANCE:
        raise WrongResultError(f"it computes something else than PyTorch (relative error {error:.1e})")

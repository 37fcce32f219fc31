"""Run kernels on operands between pages that may not be touched: a process that reads outside of them dies.

python -m tests.kernels.guard_pages
"""

import ctypes
import mmap
import sys
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm

from sparsecomp.kernels.depthwise import DepthwiseSpec
from sparsecomp.kernels.depthwise import build as build_depthwise
from sparsecomp.kernels.problem import ConvProblem, Epilogue, LinearProblem, Problem
from sparsecomp.kernels.row_panel import build, pack
from sparsecomp.kernels.schedule import Schedule
from sparsecomp.kernels.space import space
from sparsecomp.kernels.windows import Window
from sparsecomp.lower.machine_code import compile_kernel
from tests.kernels.reference import expect, host, operands, relative_error

Array = npt.NDArray[Any]
PAGE = mmap.PAGESIZE
ALL = Epilogue(bias=True, residual=True)
PROBLEMS: list[Problem] = [
    ConvProblem(1, 16, 16, 9, 12, (3, 3), padding=(1, 1, 1, 1), epilogue=ALL),
    ConvProblem(1, 16, 16, 9, 12, (3, 3), (2, 2), (1, 1, 1, 1), epilogue=Epilogue(bias=True)),
    ConvProblem(1, 3, 10, 9, 21, (3, 3), padding=(1, 1, 1, 1), epilogue=ALL),
    ConvProblem(1, 3, 10, 9, 38, (3, 3), (2, 2), (1, 1, 1, 1), epilogue=ALL),
    ConvProblem(1, 16, 32, 7, 7, (1, 1), epilogue=ALL),
    ConvProblem(1, 9, 27, 14, 14, (1, 1), epilogue=ALL),
    LinearProblem(21, 48, 80, ALL),
    LinearProblem(1, 48, 80, ALL),
]


def fenced(array: Array, at_end: bool) -> Array:
    """A copy at the start, or the end, of pages with forbidden ones on both sides."""
    pages = -(-max(array.nbytes, 1) // PAGE)
    memory = mmap.mmap(-1, (pages + 2) * PAGE)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    for place in (base, base + (pages + 1) * PAGE):
        if protect(ctypes.c_void_p(place), ctypes.c_size_t(PAGE), 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    offset = PAGE + (pages * PAGE - array.nbytes) // 64 * 64 * at_end  # kernels are given aligned arrays
    copy = np.frombuffer(memory, array.dtype, array.size, offset).reshape(array.shape)
    copy[...] = array
    return copy


def kinds(problem: Problem, density: float) -> list[Schedule]:
    """The best guess of each kind of kernel."""
    first: dict[Any, Schedule] = {}
    for schedule in space(problem, density, host()):
        how = (getattr(schedule, name, None) for name in ("sparse", "expand", "direct"))
        first.setdefault((type(schedule), *how), schedule)
    return list(first.values())


def run(problem: Problem, schedule: Schedule, density: float, fence: Callable[[Array], Array]) -> None:
    """Compute and compare; the process ends by a signal where a forbidden page is touched."""
    weight, inputs = operands(problem, density, 0)
    kernel = compile_kernel(build(problem, schedule), host())
    extra = [inputs[name] for name in ("bias", "residual") if name in inputs]
    arrays = [fence(each) for each in (inputs["x"], *pack(weight, problem, schedule), *extra, inputs["y"])]
    kernel(*(tvm.runtime.from_dlpack(each) for each in arrays))
    assert relative_error(arrays[-1], expect(problem, weight, inputs)) < 1e-5, (problem, schedule)


def run_depthwise(size: int, stride: int, fence: Callable[[Array], Array]) -> None:
    """The same for a depthwise convolution of 3x3."""
    window = Window(1, 5, size, size, (3, 3), (stride, stride), (1, 1))
    kernel = compile_kernel(build_depthwise(DepthwiseSpec(window), host()), host())
    x, weight = (np.ones(shape, np.float32) for shape in ((1, 5, size, size), (5, 1, 3, 3)))
    y = np.full((1, 5, window.out_height, window.out_width), np.nan, np.float32)
    arrays = [fence(each) for each in (x, weight, y)]
    kernel(*(tvm.runtime.from_dlpack(each) for each in arrays))
    assert np.array_equal(arrays[-1], np.broadcast_to(_ones(size)[::stride, ::stride], y.shape)), (size, stride)


def _ones(size: int) -> Array:
    """How many pixels a window of 3x3 sees of an image of this size."""
    seen = np.full(size, 3.0, np.float32)
    seen[[0, -1]] = 2
    return np.outer(seen, seen)


if __name__ == "__main__":
    for side, step, end in product((7, 14, 21, 40), (1, 2), (False, True)):
        sys.stderr.write(f"depthwise {side} {step} at the {'end' if end else 'start'}\n")
        run_depthwise(side, step, lambda each, end=end: fenced(each, end))
    for case in PROBLEMS:
        for share in (0.3, 1.0):
            for chosen in kinds(case, share):
                for end in (False, True):
                    sys.stderr.write(f"{case} {chosen} at the {'end' if end else 'start'}\n")
                    run(case, chosen, share, lambda each, end=end: fenced(each, end))

"""Run a kernel of the row-panel family on poisoned output, and compute the same in float64."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import tvm

from sparsecomp.kernels.problem import ConvProblem, Epilogue, LinearProblem, Problem
from sparsecomp.kernels.row_panel import build, pack
from sparsecomp.kernels.schedule import Schedule
from sparsecomp.lower.machine_code import compile_kernel
from sparsecomp.targets.base import Target

Array = npt.NDArray[Any]

AVX2 = Target("avx2", "16 registers of 8 lanes", "x86_64-linux-gnu", "x86-64-v3", (), 256, 16, 2)
AVX512 = Target(
    "avx512", "32 registers of 16 lanes", "x86_64-linux-gnu", "x86-64-v4", (), 512, 32, 2, 48 * 1024, 2 << 20
)


def host() -> Target:
    """The widest of the two targets that this machine can run."""
    return AVX512 if "avx512f" in Path("/proc/cpuinfo").read_text() else AVX2


def operands(problem: Problem, density: float, seed: int, size: int | None = None) -> tuple[Array, dict[str, Array]]:
    """A random weight of this density, and the kernel's other inputs; ``size`` is the batch or tokens if symbolic."""
    rng = np.random.default_rng(seed)
    if isinstance(problem, LinearProblem):
        n = problem.tokens or size
        weight: tuple[int, ...] = (problem.out_features, problem.in_features)
        x, y = (n, problem.in_features), (n, problem.out_features)
    else:
        n = problem.batch or size
        weight = (problem.out_channels, problem.in_channels // problem.groups, *problem.kernel)
        x = (n, problem.in_channels, problem.height, problem.width)
        y = (n, problem.out_channels, problem.out_height, problem.out_width)

    def normal(shape: Any) -> Array:
        return rng.standard_normal(shape).astype(np.float32)

    inputs = {"x": normal(x), "y": np.full(y, np.nan, np.float32)}
    if problem.epilogue.bias:
        inputs["bias"] = normal(weight[0])
    if problem.epilogue.residual:
        inputs["residual"] = normal(y)
    return normal(weight) * (rng.random(weight) < density).astype(np.float32), inputs


def compute(problem: Problem, schedule: Schedule, target: Target, weight: Array, inputs: dict[str, Array]) -> Array:
    """What the compiled kernel writes over NaN."""
    executable = compile_kernel(build(problem, schedule), target)
    return call(executable, pack(weight, problem, schedule), inputs)


def call(executable: Any, packed: tuple[Array, ...], inputs: dict[str, Array]) -> Array:
    """Call a compiled kernel."""
    extra = [inputs[name] for name in ("bias", "residual") if name in inputs]
    y = tvm.runtime.tensor(inputs["y"])
    executable(*(tvm.runtime.tensor(a) for a in (inputs["x"], *packed, *extra)), y)
    return np.asarray(y.numpy())


def expect(problem: Problem, weight: Array, inputs: dict[str, Array]) -> Array:
    """The same in float64 by PyTorch."""
    wide = {name: torch.from_numpy(value).double() for name, value in inputs.items()}
    w, bias = torch.from_numpy(weight).double(), wide.get("bias")
    if isinstance(problem, ConvProblem):
        top, bottom, left, right = problem.padding
        x = torch.nn.functional.pad(wide["x"], (left, right, top, bottom))
        y = torch.nn.functional.conv2d(x, w, bias, problem.stride, 0, problem.dilation, problem.groups)
    else:
        y = torch.nn.functional.linear(wide["x"], w, bias)
    residual, last = wide.get("residual"), problem.epilogue.residual_last
    if residual is not None and not last:
        y = y + residual
    y = activate(y, problem.epilogue)
    return np.asarray(y + residual if residual is not None and last else y)


def activate(y: torch.Tensor, epilogue: Epilogue) -> torch.Tensor:
    """PyTorch's functions by our names."""
    f = torch.nn.functional
    table = {
        None: lambda: y,
        "relu": lambda: f.relu(y),
        "relu6": lambda: f.relu6(y),
        "clamp": lambda: y.clamp(epilogue.low, epilogue.high),
        "sigmoid": lambda: y.sigmoid(),
        "tanh": lambda: y.tanh(),
        "silu": lambda: f.silu(y),
        "gelu": lambda: f.gelu(y),
        "gelu_tanh": lambda: f.gelu(y, approximate="tanh"),
        "hardsigmoid": lambda: f.hardsigmoid(y),
        "hardswish": lambda: f.hardswish(y),
    }
    return table[epilogue.activation]()


def relative_error(y: Array, reference: Array) -> float:
    """``||y - ref|| / ||ref||``, NaN where y has one."""
    return float(np.linalg.norm(y - reference) / max(float(np.linalg.norm(reference)), 1e-30))

"""Single layers: our kernels against PyTorch dense, in GFLOP/s on the nonzeros and per cent of the measured FMA peak.

    python -m benchmarks.layers --threads 1 --filter resnet --out layers.json

Each engine runs in a process of its own, since the waiting threads of one disturb the other; the two take turns, so that
both see the same machine. A time is the minimum and median over all turns.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from sparsecomp.kernels.problem import ConvProblem, LinearProblem, Problem

DENSITIES = (1.0, 0.3, 0.2, 0.1, 0.05)
TURNS = 5
SECONDS_A_TURN = 0.08


def _conv(channels: int, filters: int, size: int, kernel: int = 1, stride: int = 1) -> ConvProblem:
    pad = kernel // 2 if kernel < 16 and kernel % 2 else 0
    return ConvProblem(1, channels, filters, size, size, (kernel, kernel), (stride, stride), (pad, pad, pad, pad))


LAYERS: dict[str, Problem] = {
    "kernels.md 512x512 N=784": _conv(512, 512, 28),
    "kernels.md 768x768 N=128": LinearProblem(128, 768, 768),
    "kernels.md 768->3072 N=128": LinearProblem(128, 768, 3072),
    "kernels.md 3x3 128 28": _conv(128, 128, 28, 3),
    "kernels.md 3x3 256 14": _conv(256, 256, 14, 3),
    "kernels.md 3x3 512 7": _conv(512, 512, 7, 3),
    "resnet50 7x7/2 3->64 224": _conv(3, 64, 224, 7, 2),
    "resnet50 1x1 64->64 56": _conv(64, 64, 56),
    "resnet50 3x3 64 56": _conv(64, 64, 56, 3),
    "resnet50 1x1 64->256 56": _conv(64, 256, 56),
    "resnet50 1x1 256->64 56": _conv(256, 64, 56),
    "resnet50 3x3/2 128 56": _conv(128, 128, 56, 3, 2),
    "resnet50 1x1/2 256->512 56": _conv(256, 512, 56, 1, 2),
    "resnet50 1x1 128->512 28": _conv(128, 512, 28),
    "resnet50 1x1 512->128 28": _conv(512, 128, 28),
    "resnet50 1x1 256->1024 14": _conv(256, 1024, 14),
    "resnet50 1x1 1024->256 14": _conv(1024, 256, 14),
    "resnet50 1x1 512->2048 7": _conv(512, 2048, 7),
    "resnet50 1x1 2048->512 7": _conv(2048, 512, 7),
    "resnet50 fc": LinearProblem(1, 2048, 1000),
    "bert 3072->768 N=128": LinearProblem(128, 3072, 768),
    "vit patch 16x16/16": _conv(3, 768, 224, 16, 16),
    "vit 768->3072 N=197": LinearProblem(197, 768, 3072),
    "mobilenet 1x1 32->16 112": _conv(32, 16, 112),
    "mobilenet 1x1 144->24 56": _conv(144, 24, 56),
    "mobilenet 1x1 384->64 14": _conv(384, 64, 14),
    "mobilenet 1x1 960->160 7": _conv(960, 160, 7),
    "mobilenet 1x1 320->1280 7": _conv(320, 1280, 7),
    "decode 768->3072 N=1": LinearProblem(1, 768, 3072),
    "decode 4096->4096 N=1": LinearProblem(1, 4096, 4096),
}


def flops(problem: Problem) -> float:
    """Floating point operations of the dense layer."""
    if isinstance(problem, LinearProblem):
        return 2.0 * (problem.tokens or 1) * problem.in_features * problem.out_features
    pixels = (problem.batch or 1) * problem.out_height * problem.out_width
    return 2.0 * pixels * problem.out_channels * problem.in_channels // problem.groups * problem.taps


def weight_of(problem: Problem, density: float, block: int = 1) -> np.ndarray[Any, Any]:
    """A random weight; blocks of ``block`` rows by one column are zero or not as a whole."""
    rng = np.random.default_rng(0)
    if isinstance(problem, LinearProblem):
        shape: tuple[int, ...] = (problem.out_features, problem.in_features)
    else:
        shape = (problem.out_channels, problem.in_channels // problem.groups, *problem.kernel)
    keep = np.repeat(rng.random((-(-shape[0] // block), *shape[1:])) < density, block, axis=0)[: shape[0]]
    return (rng.standard_normal(shape) * keep).astype(np.float32) * 0.05


def _shapes(problem: Problem) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if isinstance(problem, LinearProblem):
        return (problem.tokens or 1, problem.in_features), (problem.tokens or 1, problem.out_features)
    p = problem
    return (p.batch or 1, p.in_channels, p.height, p.width), (p.batch or 1, p.out_channels, p.out_height, p.out_width)


def torch_call(problem: Problem, threads: int) -> Callable[[], Any]:
    """The dense layer by PyTorch."""
    import torch

    torch.set_num_threads(threads)
    x, w = torch.randn(_shapes(problem)[0]), torch.from_numpy(weight_of(problem, 1.0))
    if isinstance(problem, LinearProblem):
        return lambda: torch.nn.functional.linear(x, w)
    p = problem
    return lambda: torch.nn.functional.conv2d(x, w, None, p.stride, p.padding[::2], p.dilation, p.groups)


def our_call(problem: Problem, density: float, block: int, threads: int, choice: int) -> tuple[Callable[[], Any], str]:
    """The layer by the schedule at place ``choice`` of the space."""
    import tvm
    from benchmarks.machine import target

    from sparsecomp.kernels.cost import WeightStats
    from sparsecomp.kernels.row_panel import build, pack, space

    device = target(threads)
    weight = weight_of(problem, density, block)
    schedule = space(problem, WeightStats.of(weight), device)[choice]
    executable = tvm.compile(build(problem, schedule), target=tvm.target.Target(device.tvm_options()))
    x, y = (np.random.standard_normal(s).astype(np.float32) for s in _shapes(problem))
    arguments = [tvm.runtime.tensor(a) for a in (x, *pack(weight, problem, schedule), y)]
    return lambda: executable(*arguments), str(schedule)


def measure(call: Callable[[], Any]) -> list[float]:
    """Seconds of each call during one turn."""
    call()
    times, end = [], time.perf_counter() + SECONDS_A_TURN
    while time.perf_counter() < end or len(times) < 3:
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return times

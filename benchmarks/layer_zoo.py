"""The layers that ``benchmarks.layers`` measures: the shapes of real networks, and weights for them."""

from typing import Any

import numpy as np

from sparsecomp.kernels.problem import ConvProblem, LinearProblem, Problem


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
    return 2.0 * problem.macs


def weight_of(problem: Problem, density: float, block: int = 1) -> np.ndarray[Any, Any]:
    """A random weight; blocks of ``block`` rows by one column are zero or not as a whole."""
    rng = np.random.default_rng(0)
    if isinstance(problem, LinearProblem):
        shape: tuple[int, ...] = (problem.out_features, problem.in_features)
    else:
        shape = (problem.out_channels, problem.in_channels // problem.groups, *problem.kernel)
    keep = np.repeat(rng.random((-(-shape[0] // block), *shape[1:])) < density, block, axis=0)[: shape[0]]
    return (rng.standard_normal(shape) * keep).astype(np.float32) * 0.05


def shapes(problem: Problem) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of the input and the output."""
    if isinstance(problem, LinearProblem):
        return (problem.tokens or 1, problem.in_features), (problem.tokens or 1, problem.out_features)
    p = problem
    return (p.batch or 1, p.in_channels, p.height, p.width), (p.batch or 1, p.out_channels, p.out_height, p.out_width)

"""Single operators that are neither linear nor convolution, compiled, against PyTorch.

    python -m benchmarks.operators [NAME ...]

Both run in this process; worker threads that spin after a call disturb the other engine, so each waits until they
sleep. The figures are minima over interleaved rounds, in microseconds.
"""

import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sparsecomp

ROUNDS, CALLS = 3, 150
# Long enough for the worker threads of either engine to stop spinning.
REST_S = 0.5

Case = tuple[Callable[..., Tensor], tuple[Tensor, ...]]
r = torch.randn


class Operator(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Tensor) -> Tensor:
        """The function's result."""
        return self.function(*args)


def cases() -> dict[str, Case]:
    """Operators at the shapes that the networks of the benchmarks give them."""
    weights = {c: (r(c), r(c)) for c in (96, 384, 768)}
    return {
        "relu 8": (lambda x: x.relu(), (r(8),)),
        "relu resnet": (lambda x: x.relu(), (r(1, 256, 56, 56),)),
        "add relu resnet": (lambda x, y: (x + y).relu(), (r(1, 256, 56, 56), r(1, 256, 56, 56))),
        "gelu bert": (lambda x: F.gelu(x), (r(1, 128, 3072),)),
        "gelu tanh gpt2": (lambda x: F.gelu(x, approximate="tanh"), (r(1, 64, 3072),)),
        "silu yolo": (lambda x: F.silu(x), (r(1, 64, 80, 80),)),
        "hardswish": (lambda x: F.hardswish(x), (r(1, 96, 28, 28),)),
        "sigmoid": (lambda x: x.sigmoid(), (r(1, 64, 80, 80),)),
        "softmax bert": (lambda x: x.softmax(-1), (r(1, 12, 128, 128),)),
        "softmax channels": (lambda x: x.softmax(1), (r(1, 19, 128, 128),)),
        "layer norm bert": (lambda x: F.layer_norm(x, (768,), *weights[768]), (r(1, 128, 768),)),
        "layer norm convnext": (lambda x: F.layer_norm(x, (96,), *weights[96]), (r(1, 56, 56, 96),)),
        "group norm": (lambda x: F.group_norm(x, 32, *weights[384]), (r(1, 384, 28, 28),)),
        "max pool resnet": (lambda x: F.max_pool2d(x, 3, 2, 1), (r(1, 64, 112, 112),)),
        "global mean resnet": (lambda x: x.mean((2, 3)), (r(1, 2048, 7, 7),)),
        "token mean": (lambda x: x.mean(1), (r(1, 197, 768),)),
        "heads": (lambda x: x.view(1, 128, 12, 64).transpose(1, 2) + 0.5, (r(1, 128, 768),)),
        "permute convnext": (lambda x: x.permute(0, 2, 3, 1) + 0.5, (r(1, 96, 56, 56),)),
        "permute back": (lambda x: x.permute(0, 3, 1, 2) + 0.5, (r(1, 56, 56, 96),)),
        "concat unet": (lambda x, y: torch.cat([x, y], 1), (r(1, 64, 128, 128), r(1, 64, 128, 128))),
        "upsample nearest": (lambda x: F.interpolate(x, scale_factor=2.0, mode="nearest"), (r(1, 128, 40, 40),)),
        "upsample bilinear": (lambda x: F.interpolate(x, size=(128, 128), mode="bilinear"), (r(1, 256, 32, 32),)),
        "embedding bert": (lambda w, i: F.embedding(i, w), (r(30522, 768), torch.randint(0, 30522, (1, 128)))),
        "matmul heads": (lambda x, y: x @ y, (r(1, 12, 128, 64), r(1, 12, 64, 128))),
        "attention bert": (
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v),
            (r(1, 12, 128, 64), r(1, 12, 128, 64), r(1, 12, 128, 64)),
        ),
        "attention vit": (
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v),
            (r(1, 12, 197, 64), r(1, 12, 197, 64), r(1, 12, 197, 64)),
        ),
    }


def best(function: Callable[..., object], args: tuple[Tensor, ...]) -> float:
    """The shortest of some calls, in microseconds."""
    time.sleep(REST_S)
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        function(*args)
        times.append(time.perf_counter() - start)
    return min(times) * 1e6


def main(names: list[str]) -> None:
    """Prints a line for each operator: ours, PyTorch's, and their ratio."""
    print(f"{'operator':22} {'ours':>9} {'torch':>9} {'ratio':>6}  (microseconds; below 1 is faster than torch)")
    for name, (function, args) in cases().items():
        if names and name not in names:
            continue
        ours = sparsecomp.compile(Operator(function).eval(), "native", args)
        with torch.no_grad():
            rounds = [(best(ours, args), best(function, args)) for _ in range(ROUNDS)]
        mine, theirs = (min(column) for column in zip(*rounds, strict=True))
        print(f"{name:22} {mine:9.1f} {theirs:9.1f} {mine / theirs:6.2f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

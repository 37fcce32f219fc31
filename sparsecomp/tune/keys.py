"""What a measurement belongs to, as text: device, kernel version, shape and pattern of the weight."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from importlib.metadata import version
from typing import Any

from sparsecomp.kernels.cost import WeightStats
from sparsecomp.kernels.problem import Problem
from sparsecomp.kernels.schedule import Schedule
from sparsecomp.targets import Target, detect

FAMILY = "row-panel"
NEAR = (0.05, 0.002)  # two shares are near each other within this part of the larger, and this much more
_RANKING = "cost"  # modules whose name begins so say what to try first, and nothing of how long it takes


@dataclass(frozen=True)
class Key:
    """What a measurement belongs to; the fields are columns of the records.

    Attributes:
        device: fingerprint of the target, and the number of threads where it is not that of the cores.
        kernel: family and version.
        problem: what is computed, and the shape of the input that it was measured with, as JSON.
        pattern: statistics of the weight's zeros, as a JSON list of numbers.
    """

    device: str
    kernel: str
    problem: str
    pattern: str


def key_of(target: Target, problem: Problem, shape: Sequence[int], stats: WeightStats) -> Key:
    """The key of measurements of a layer.

    Args:
        target: the device.
        problem: what the layer computes.
        shape: of its input, which matters where the problem leaves a size open.
        stats: of its weight.
    """
    described = {"kind": type(problem).__name__, **asdict(problem), "input": list(shape)}
    pattern = json.dumps([round(number, 4) for number in _numbers(asdict(stats))])
    return Key(_device(target), kernel_version(), json.dumps(described), pattern)


def bare(problem: str) -> str:
    """The problem of a key without what follows the multiplication, and without the shape that its input had."""
    fields = json.loads(problem)
    return json.dumps({name: value for name, value in fields.items() if name not in ("epilogue", "input")})


def schedule_text(schedule: Schedule) -> str:
    """A schedule as one line of JSON."""
    return json.dumps({"kind": type(schedule).__name__, **asdict(schedule)})


def distance(pattern: str, other: str) -> float | None:
    """How far two patterns are from each other, or None where they are not near."""
    left: list[float] = json.loads(pattern)
    right: list[float] = json.loads(other)
    pairs = list(zip(left, right, strict=False))
    if len(left) != len(right) or any(abs(a - b) > NEAR[0] * max(a, b) + NEAR[1] for a, b in pairs):
        return None
    return sum(abs(a - b) for a, b in pairs)


@cache
def kernel_version() -> str:
    """The kernel family and a digest of the source that makes its code: what it made before was other code."""
    digest = hashlib.sha256(version("apache-tvm").encode())
    for package in ("sparsecomp.kernels", "sparsecomp.formats"):
        for file in sorted(resources.files(package).iterdir(), key=lambda file: file.name):
            if file.name.endswith(".py") and not file.name.startswith(_RANKING):
                digest.update(file.read_bytes())
    return f"{FAMILY}-{digest.hexdigest()[:12]}"


def _device(target: Target) -> str:
    threads = os.environ.get("TVM_NUM_THREADS")
    return target.fingerprint if threads in (None, str(detect().cores)) else f"{target.fingerprint}-{threads}t"


def _numbers(value: Any) -> Iterator[float]:
    """The numbers in nested dictionaries and tuples, in order; None has none."""
    if isinstance(value, dict | tuple | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _numbers(part)
    elif value is not None:
        yield float(value)

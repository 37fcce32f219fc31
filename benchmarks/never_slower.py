"""Is a weight with zeros ever slower than without, and is the dense one slower than PyTorch? Odd shapes, all densities.

    python -m benchmarks.never_slower --threads 2 --out never_slower.json

For each shape, the kernel that is chosen at each density 0, 0.1 ... 1 is timed against the one that is chosen for the
dense weight and against PyTorch, in turns (see ``layers``). Prints the shapes that break a promise and how many do.
A shape that seems to is measured again, in other memory: how arrays lie in it makes a kernel a tenth slower or faster.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.layers import TURNS, Engine
from benchmarks.machine import describe
from sparsecomp.kernels.problem import ConvProblem, LinearProblem, Problem

DENSITIES = tuple(step / 10 for step in range(11))
SPARSE_LIMIT, DENSE_LIMIT = 1.05, 1.1
TRIES = 3


def _conv(
    channels: int, filters: int, size: tuple[int, int], kernel: int, stride: int = 1, groups: int = 1
) -> ConvProblem:
    pad = kernel // 2
    return ConvProblem(
        1, channels, filters, *size, (kernel, kernel), (stride, stride), (pad, pad, pad, pad), groups=groups
    )


SHAPES: tuple[Problem, ...] = (
    *(LinearProblem(n, 1000, 1000) for n in (1, 3, 7, 17, 31, 49, 197)),
    *(LinearProblem(31, k, 128) for k in (1, 3, 7, 17, 31, 49, 197, 1009)),
    *(LinearProblem(49, 256, m) for m in (1, 3, 7, 17, 31, 197, 1009)),
    *(_conv(31, 64, (n, n), 3) for n in (1, 3, 7, 17, 31, 49)),
    _conv(197, 97, (17, 31), 1),
    _conv(64, 49, (49, 7), 5),
    _conv(17, 31, (49, 49), 3, 2),
    _conv(64, 128, (28, 28), 1, 2),
    _conv(128, 128, (14, 14), 3, groups=4),
)


def measure(problem: Problem, threads: int, engines: list[Engine]) -> dict[str, Any]:
    """The figures of a shape: minima over all tries."""
    found = sweep(problem, threads, engines)
    for _ in range(TRIES - 1):
        if broken(found):
            again = sweep(problem, threads, engines)
            found["torch"] = min(found["torch"], again["torch"])
            for density, seconds in again["ours"].items():
                found["ours"][density] = min(seconds, found["ours"][density])
    return found


def sweep(problem: Problem, threads: int, engines: list[Engine]) -> dict[str, Any]:
    """Seconds of PyTorch dense, and of ours at each density: minima over all turns."""
    dense, *ours = engines
    dense.ask(("torch_call", (problem, threads)))
    notes = [engine.ask(("our_call", (problem, threads, d, 1))) for engine, d in zip(ours, DENSITIES, strict=True)]
    best = [min(min(engine.ask(None)) for _ in range(TURNS)) for engine in engines]
    for _ in range(TURNS):  # again, the other way round in time
        best = [min(before, min(engine.ask(None))) for before, engine in zip(best, engines, strict=True)]
    ours_best = dict(zip(map(str, DENSITIES), best[1:], strict=True))
    return {"problem": str(problem), "torch": best[0], "ours": ours_best, "schedules": notes}


def broken(found: dict[str, Any]) -> list[str]:
    """The promises that a shape breaks, in words; the dense schedule runs the same code for every weight."""
    dense = found["ours"]["1.0"]
    lines = [
        f"density {density}: {seconds / dense:.2f} times the dense time"
        for (density, seconds), schedule in zip(found["ours"].items(), found["schedules"], strict=True)
        if seconds > SPARSE_LIMIT * dense and schedule != found["schedules"][-1]
    ]
    if dense > DENSE_LIMIT * found["torch"]:
        lines.append(f"dense: {dense / found['torch']:.2f} times PyTorch's time")
    return lines


def main() -> None:
    """Measure all shapes, print what breaks a promise, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--only", default="", help="shapes whose description contains this")
    arguments = parser.parse_args()
    engines = [Engine(arguments.threads) for _ in range(1 + len(DENSITIES))]
    results = []
    for problem in (shape for shape in SHAPES if arguments.only in str(shape)):
        results.append(measure(problem, arguments.threads, engines))
        lines = broken(results[-1])
        gain = results[-1]["torch"] / results[-1]["ours"]["1.0"]
        print(f"{'NOT' if lines else 'ok '} dense {gain:.2f}x PyTorch  {problem}")
        print("".join(f"      {line}\n" for line in lines), end="", flush=True)
    for engine in engines:
        engine.close()
    print(f"{sum(not broken(r) for r in results)} of {len(results)} shapes keep both promises")
    if arguments.out:
        arguments.out.write_text(json.dumps({**describe(), "threads": arguments.threads, "shapes": results}, indent=1))


if __name__ == "__main__":
    main()

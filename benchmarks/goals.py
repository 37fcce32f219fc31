"""Whether a latency that pruning is asked for is met: prune to it, compile anew, and time dense and pruned in turn.

python -m benchmarks.goals --models sentences resnet50 --speedups 2 3 -o results/
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

import sparsecomp
from benchmarks import machine, zoo
from sparsecomp.stopwatch import in_turns


def goals(name: str, speedups: Sequence[float], pattern: str, length: int | None) -> Iterator[dict[str, Any]]:
    """One row for each speed-up, of magnitude pruning: milliseconds, and how far from the goal they are."""
    entry = zoo.load(name)
    model, inputs = entry.build(), entry.inputs(1, length)
    example = (inputs.args, inputs.kwargs)
    dense = sparsecomp.compile(model, "native", inputs.args, inputs.kwargs)
    for speedup in speedups:
        start = time.perf_counter()
        pruned = sparsecomp.prune(model, example, speedup=speedup, pattern=pattern)
        seconds = time.perf_counter() - start
        compiled = sparsecomp.compile(pruned.model, "native", inputs.args, inputs.kwargs)
        calls = [lambda each=each: each(*inputs.args, **inputs.kwargs) for each in (dense, compiled)]
        rounds = [in_turns(*calls) for _ in range(5)]
        before = statistics.median(ms for first, _ in rounds for ms in first)
        after = before * statistics.median(b / a for pair in rounds for a, b in zip(*pair, strict=True))
        yield {
            "model": name,
            "pattern": pattern,
            "speedup asked": speedup,
            "dense ms": before,
            "pruned ms": after,
            "over the goal %": 100 * (after / (before / speedup) - 1),
            "as searched %": 100 * (pruned.report.expected["ms_pruned"] / pruned.report.expected["ms_goal"] - 1),
            "sparsity %": 100 * pruned.report.sparsity,
            "search s": seconds,
        }


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.goals", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=zoo.NAMES, default=["sentences", "resnet50"])
    parser.add_argument("--speedups", nargs="+", type=float, default=[2.0, 3.0])
    parser.add_argument("--pattern", default="block4x1", help="where zeros may stand (default: %(default)s)")
    parser.add_argument("--length", type=int, help="tokens of a sequence; the model's own if left out")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of goals.json")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    options, console, rows = arguments(argv), Console(), []
    torch.set_grad_enabled(False)
    for name in options.models:
        for row in goals(name, options.speedups, options.pattern, options.length):
            rows.append(row)
            console.print(row)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "goals.json").write_text(json.dumps(machine.describe() | {"rows": rows}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

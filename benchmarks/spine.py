"""Every network of the zoo through the compiler: time to compile, error, and latency against PyTorch eager.

    python -m benchmarks.spine -o results/

Exits with 1 when a model fails, is wrong, or runs slower than SLOWEST times eager.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

from benchmarks import report, zoo
from benchmarks.engines import OURS
from benchmarks.measure import Case, measure
from benchmarks.networks import add_protocol, names, protocol

ENGINES = ("eager", OURS)
SLOWEST = 3.0


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; exits with a message on names that do not exist."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spine", description=__doc__)
    parser.add_argument("--models", type=names(zoo.NAMES), default=list(zoo.NAMES))
    parser.add_argument("--small", action="store_true", help="the sizes of the tests, to try the command")
    add_protocol(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of results.json and spine.md")
    return parser.parse_args(argv)


def verdict(result: dict[str, Any]) -> str:
    """``ok``, or what is wrong with the model's figures."""
    fault = report.fault(result["engines"][OURS])
    slow = OURS in result["ratios"] and result["ratios"][OURS]["min"] < 1 / SLOWEST
    return fault or ("slow" if slow else "ok")


def table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown: one row a model."""
    rows = ["| model | compile s | relative error | eager ms | ours ms | eager / ours | verdict |", "|---" * 7 + "|"]
    for result in results:
        eager, ours = (result["engines"][engine] for engine in ENGINES)
        ratio = result["ratios"].get(OURS)
        figures = [
            f"{ours['load_s']:.1f}" if "load_s" in ours else "-",
            f"{ours['relative_error']:.1e}" if "relative_error" in ours else "-",
            f"{eager['min_ms']:.2f}" if "min_ms" in eager else "-",
            f"{ours['min_ms']:.2f}" if "min_ms" in ours else "-",
            f"{ratio['min']:.2f} ({ratio['median']:.2f})" if ratio else "-",
        ]
        rows.append(f"| {' | '.join([result['model'], *figures, verdict(result)])} |")
    return "\n".join(rows) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write after every model; 0 when all verdicts are ok."""
    options = arguments(argv)
    console, how = Console(), protocol(options)
    results: list[dict[str, Any]] = []
    for model in options.models:
        with console.status(f"{model} ..."):
            results.append(measure(Case(model, full=not options.small), ENGINES, how))
        report.write_json(options.output, results, how)
        (options.output / "spine.md").write_text(table(results))
        console.print(f"{model}: {verdict(results[-1])}", markup=False)
    console.print(Markdown(table(results)))
    return int(any(verdict(result) != "ok" for result in results))


if __name__ == "__main__":
    raise SystemExit(main())

"""Whole networks at several sparsities on every engine.

python -m benchmarks.networks --models resnet50,bert --sparsities 0,0.9 -o results/
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

from benchmarks import report, zoo
from benchmarks.engines import ENGINES
from benchmarks.measure import Case, Protocol, measure


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; exits with a message on names that do not exist."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.networks", description=__doc__)
    parser.add_argument("--models", type=names(zoo.NAMES), default=["resnet50", "mobilenetv2", "bert", "vit"])
    parser.add_argument("--sparsities", type=_fractions, default=[0.0, 0.8, 0.9, 0.95], help="such as 0,0.8,0.9")
    parser.add_argument("--engines", type=names(tuple(ENGINES)), default=list(ENGINES))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--length", type=int, help="tokens of text models; the model's own by default")
    parser.add_argument("--small", action="store_true", help="the sizes of the tests, to try the command")
    add_protocol(parser)
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="folder of results.json, table.md, speedup.png"
    )
    return parser.parse_args(argv)


def add_protocol(parser: argparse.ArgumentParser) -> None:
    """Options of how to measure; ``protocol`` reads them."""
    parser.add_argument("--threads", type=int, default=Protocol.threads)
    parser.add_argument("--rounds", type=int, default=Protocol.rounds, help="turns that each engine gets")
    parser.add_argument("--seconds", type=float, default=Protocol.seconds, help="length of a turn")
    parser.add_argument("--lock", type=Path, help="file to hold (flock) while timing, where others measure too")


def names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Type of an option that takes names out of ``known``, separated by commas."""

    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := [name for name in chosen if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are: {', '.join(known)}")
        return chosen

    return parse


def protocol(options: argparse.Namespace) -> Protocol:
    """How to measure, from the options of ``add_protocol``."""
    return Protocol(options.threads, options.rounds, options.seconds, lock=options.lock)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write. Results are written after every case, so that an interruption keeps them."""
    options = arguments(argv)
    console, how = Console(), protocol(options)
    results: list[dict[str, Any]] = []
    for model in options.models:
        for sparsity in options.sparsities:
            case = Case(model, sparsity, options.batch, options.length, not options.small)
            with console.status(f"{model} at {100 * sparsity:g} % ..."):
                results.append(measure(case, options.engines, how))
            report.write(options.output, results, options.engines, how)
            console.print(Markdown(report.table(results[-1:], options.engines)))
    console.print(Markdown(report.table(results, options.engines)))
    for line in report.failures(results):
        console.print(line, style="yellow", markup=False)
    console.print(f"written to {options.output}")
    return 0


def _fractions(text: str) -> list[float]:
    values = [float(part) for part in text.split(",")]
    if not all(0 <= value < 1 for value in values):
        raise argparse.ArgumentTypeError("sparsities are fractions from 0 to below 1, such as 0.9")
    return values


if __name__ == "__main__":
    raise SystemExit(main())

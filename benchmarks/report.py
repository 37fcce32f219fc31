"""What a benchmark leaves behind: one JSON file, a table in Markdown, a plot of speed-up over sparsity."""

import json
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.engines import OURS
from benchmarks.measure import Protocol

SCHEMA = 1
TOLERANCE = 1e-4


def record(results: list[dict[str, Any]], protocol: Protocol) -> dict[str, Any]:
    """Results of ``measure`` with the machine, the versions, the date and how they were measured."""
    settings = {key: value for key, value in vars(protocol).items() if key != "lock"}
    return {"schema": SCHEMA} | machine.describe() | {"protocol": settings, "results": results}


def table(results: list[dict[str, Any]], engines: list[str]) -> str:
    """Markdown: one row a case, the best time of each engine, and the ratio of the best dense engine to ours.

    The ratio is given by the minima and, in brackets, by the medians.
    """
    head = ["model", "sparsity", *(f"{engine} ms" for engine in engines), "best dense / ours"]
    rows = [head]
    for result in results:
        times = [_time(result["engines"][engine]) for engine in engines]
        rows.append([_case(result), f"{100 * result['sparsity']:g} %", *times, _ratio(result)])
    return markdown(rows)


def markdown(rows: list[list[str]]) -> str:
    """A table in Markdown; the first row is its head."""
    lined = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "".join(f"| {' | '.join(row)} |\n" for row in lined)


def failures(results: list[dict[str, Any]]) -> list[str]:
    """One line for each engine that is missing, failed or computed something else on a case."""
    return [
        f"{_case(result)} at {100 * result['sparsity']:g} %: {engine}: {remark}"
        for result in results
        for engine, entry in result["engines"].items()
        if (remark := fault(entry))
    ]


def fault(entry: dict[str, Any]) -> str:
    """What is wrong with an engine's figures; empty if nothing is."""
    if "error" in entry:
        return f"failed: {entry['error'].splitlines()[0]}"
    error = entry["relative_error"]
    return "" if error <= TOLERANCE else f"wrong: relative error {error:.1e}"


def write_json(folder: Path, results: list[dict[str, Any]], protocol: Protocol) -> None:
    """Write ``results.json`` to ``folder``, which is made where there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(record(results, protocol), indent=1))


def write(folder: Path, results: list[dict[str, Any]], engines: list[str], protocol: Protocol) -> None:
    """Write ``results.json``, ``table.md`` and, where there are ratios of ours, ``speedup.png`` to ``folder``."""
    write_json(folder, results, protocol)
    (folder / "table.md").write_text(table(results, engines))
    lines = _lines(results)
    if lines:
        _plot(lines, folder / "speedup.png")


def _case(result: dict[str, Any]) -> str:
    extra = [f"batch {result['batch']}"] if result["batch"] != 1 else []
    extra += [f"length {result['length']}"] if result["length"] else []
    return ", ".join([result["model"], *extra])


def _time(entry: dict[str, Any]) -> str:
    return f"{entry['min_ms']:.2f}" if "min_ms" in entry else "failed"


def _ratio(result: dict[str, Any]) -> str:
    ratio = result["ratios"].get(OURS)
    return f"{ratio['min']:.2f} ({ratio['median']:.2f})" if ratio else "-"


def _lines(results: list[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """For each model, (sparsity in per cent, best dense / ours) in order of sparsity."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for result in results:
        if OURS in result["ratios"]:
            point = (100 * result["sparsity"], result["ratios"][OURS]["min"])
            lines.setdefault(_case(result), []).append(point)
    return {name: sorted(points) for name, points in lines.items()}


def _plot(lines: dict[str, list[tuple[float, float]]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, points in lines.items():
        axes.plot([x for x, _ in points], [y for _, y in points], marker="o", label=name)
    axes.axhline(1.0, color="grey", linewidth=0.8, linestyle="--")
    axes.set(xlabel="sparsity of the weights, %", ylabel="best dense engine / ours", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)

"""One layer's whole story, in sentences with figures."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from sparsecomp.errors import SparsecompError
from sparsecomp.inspect.tables import milliseconds, percent
from sparsecomp.inspect.text import plain

if TYPE_CHECKING:
    from sparsecomp.report import Report

Row = Mapping[str, Any]


def explain(report: "Report", name: str) -> str:
    """What was found in a layer, what was done, what it takes, and why.

    Args:
        report: of a compile or of `sparsecomp.inspect`.
        name: path of the module, or the name of its weight.

    Raises:
        SparsecompError: there is no such layer; the message names those that are called nearly so.
    """
    rows = [row for row in report.layers if name in (row["layer"], row["weight"])]
    if not rows:
        known = list(dict.fromkeys(row["layer"] for row in report.layers))
        close = get_close_matches(name, known, 3, 0.3) or known[:5]
        raise SparsecompError(
            f"explain: there is no layer {plain(name)!r} with a weight; "
            + (f"did you mean {', '.join(map(plain, close))}?" if close else "the model has none")
        )
    return "\n".join(" ".join(_story(report, row)) for row in rows)


def _story(report: "Report", row: Row) -> Iterator[str]:
    shape = "x".join(map(str, row["shape"]))
    yield f"{plain(row['layer'])} is a {row['op']} with a weight of {shape} ({plain(row['weight'])})."
    zeros = (
        "it has no zeros" if row["pattern"] == "dense" else f"{1 - row['density']:.1%} of it is zero ({row['pattern']})"
    )
    yield f"{zeros[0].upper()}{zeros[1:]}."
    yield from _removal(report, row)
    if not row["nodes"]:
        yield f"Nothing of it runs: {row['reason']}."
        return
    yield from _kernel(report, row)
    yield from _time(row)
    yield _size(row)


def _removal(report: "Report", row: Row) -> Iterator[str]:
    lost = [
        f"{row[key]} {name}" for key, name in (("outputs_removed", "outputs"), ("inputs_removed", "inputs")) if row[key]
    ]
    if lost:
        left = "x".join(map(str, row["shape_after"]))
        yield f"{' and '.join(lost)} were removed, which leaves {left}."
    for item in report.staying:
        if item["layer"] == row["layer"]:
            why = "; ".join(str(reason) for reason, _ in item["reasons"])
            yield f"{item['idle']} of {item['slices']} slices could go and stay: {plain(why, 400)}."


def _kernel(report: "Report", row: Row) -> Iterator[str]:
    where = f" in the function {row['function']}" if row["function"] else ""
    how = "sparse" if (row["schedule"] or {}).get("sparse") else "dense"
    why = plain(row["reason"], 400)
    if row["kernel"]:
        yield f"It runs {how}{where}, by the {row['kernel']} kernel, stored as {row['format']}: {why}."
    else:
        yield f"It runs {how}: {why}."
    if row["schedule"]:
        yield "The schedule is " + ", ".join(f"{name} {value}" for name, value in row["schedule"].items()) + "."
    decision = next((each for each in report.decisions if each["node"] in row["nodes"]), None)
    others = decision["candidates"][1:4] if decision else ()
    for other in others:
        kind = "sparse" if other["schedule"].get("sparse") else "dense"
        time = "measured" if other["measured"] is not None else "predicted"
        yield f"Another way, {kind}, is {time} to take {milliseconds(report.parts * other[time])}."


def _time(row: Row) -> Iterator[str]:
    time = row["measured"] or row["predicted"]
    if time is None:
        return
    kind = "measured" if row["measured"] else "predicted"
    yield f"It is {kind} to take {milliseconds(time)}, {percent(row['share'])} of the time of all layers."
    if row["dense_predicted"]:
        yield (
            f"Dense and whole it is predicted to take {milliseconds(row['dense_predicted'])}; the prediction for what "
            f"runs is {milliseconds(row['predicted'])}."
        )
    if row["gflops"] is not None:
        yield (
            f"That is {row['gflops']:.1f} GFLOP/s on the nonzeros, {percent(row['roofline'])} of what the peak of the "
            "target and its memory allow."
        )


def _size(row: Row) -> str:
    return f"It takes {row['bytes_after']:,} bytes in the program and {row['bytes_before']:,} in the model."

"""What the page shows, drawn from a report: one place a call for all stages, layers with their places, a summary."""

from collections.abc import Mapping, Sequence
from typing import Any

from sparsecomp.inspect.union import union


def page_data(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the page reads at once.

    Args:
        report: what `Report.to_dict` gives.
    """
    graph = union(report["stages"]).to_dict()
    numbers: dict[str, list[int]] = {}
    for number, decision in enumerate(report["decisions"]):
        numbers.setdefault(decision["node"], []).append(number)
    layers = [
        {
            **{name: value for name, value in row.items() if name != "preview"},
            "slots": _slots(row, graph),
            "decisions": [number for node in row["nodes"] for number in numbers.get(node, ())],
        }
        for row in report["layers"]
    ]
    return {
        "summary": summary(report),
        "graph": graph,
        "layers": layers,
        "decisions": [
            {"candidates": [_candidate(each, report.get("parts", 1)) for each in decision["candidates"]]}
            for decision in report["decisions"]
        ],
        "functions": sorted(report["code"]),
    }


def unpacked_later(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the page reads when a layer is opened: pictures by row, and each text of code once."""
    texts = list(dict.fromkeys(report["code"].values()))
    place = {text: number for number, text in enumerate(texts)}
    return {
        "previews": [row["preview"] for row in report["layers"]],
        "texts": texts,
        "code": {name: place[text] for name, text in report["code"].items()},
    }


def summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """The head of the page: a title, a line about it, and cards of ``name``, ``value``, ``note`` and ``strong``."""
    rows = report["layers"]
    error = report["relative_error"]
    verified = "not verified" if error is None else f"verified, relative error {error:.1e}"
    operators = (
        f"{_calls(report['stages'][0])} operators became {_calls(report['stages'][-1])} kernels · "
        if report["stages"]
        else ""
    )
    parts = f"the batch in {report['parts']} parts · " if report.get("parts", 1) > 1 else ""
    return {
        "title": report["model"],
        "about": f"for {report['target']} · {operators}{parts}{verified}",
        "cards": [*_time_cards(rows), *_weight_cards(rows)],
    }


def _time_cards(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of the layers whose time is known with and without zeros."""
    known = [(row, _time(row)) for row in rows if _time(row) and row["dense_predicted"]]
    dense, sparse = sum(row["dense_predicted"] for row, _ in known), sum(time or 0.0 for _, time in known)
    if not known or not sparse:
        return []
    measured = sum(row["measured"] is not None for row, _ in known)
    kind = "predicted" if not measured else "measured" if measured == len(known) else f"{measured} measured"
    return [
        _card("Layers run", f"{dense / sparse:.2f}×", "as fast as dense", strong=True),
        _card("Time of layers", f"{dense * 1e3:.3g} → {sparse * 1e3:.3g} ms", f"dense predicted, compiled {kind}"),
    ]


def _weight_cards(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    before, after = sum(row["bytes_before"] for row in rows), sum(row["bytes_after"] for row in rows)
    sizes = [_numel(row["shape"]) for row in rows]
    if not sum(sizes):
        return []
    zeros = 1 - sum(row["density"] * size for row, size in zip(rows, sizes, strict=True)) / sum(sizes)
    sparse = sum(row["density"] < 1 for row in rows)
    outputs = sum(row["outputs_removed"] for row in rows)
    work, dense = sum(row["macs"] for row in rows), sum(row["macs_dense"] for row in rows)
    return [
        _card("Weights", f"{before / 1e6:.3g} → {after / 1e6:.3g} MB", "as stored for the kernels"),
        _card("Zeros", f"{100 * zeros:.3g} %", f"in {sparse} of {len(rows)} weights"),
        *([_card("Removed", f"{outputs:,}", "channels and features")] if outputs else []),
        _card("Work left", f"{100 * work / dense:.3g} %" if dense else "–", "multiply-adds by nonzeros"),
    ]


def _card(name: str, value: str, note: str, strong: bool = False) -> dict[str, Any]:
    return {"name": name, "value": value, "note": note, "strong": strong}


def _time(row: Mapping[str, Any]) -> float | None:
    time: float | None = row["predicted"] if row["measured"] is None else row["measured"]
    return time


def _calls(view: Mapping[str, Any]) -> int:
    return sum(node["kind"] == "call" for node in view["nodes"])


def _candidate(candidate: Mapping[str, Any], parts: int) -> dict[str, Any]:
    """A way to run a layer, with the seconds for all parts of the batch."""
    times = {name: candidate[name] and parts * candidate[name] for name in ("predicted", "measured")}
    return {"schedule": candidate["schedule"], **times}


def _slots(row: Mapping[str, Any], graph: Mapping[str, Any]) -> list[int]:
    """Where a layer is drawn: its calls after fusion; where it was, if it is gone."""
    stages, nodes = graph["stages"], set(row["nodes"])
    fused = stages.index("fused") if "fused" in stages else len(stages) - 1
    found = [place for place, views in enumerate(graph["slots"]) if views[fused] and views[fused]["id"] in nodes]
    if found:
        return found
    return [
        place
        for place, views in enumerate(graph["slots"])
        if views[0] and row["layer"] and views[0]["layer"] == row["layer"] and views[0]["density"] is not None
    ]


def _numel(shape: Sequence[int]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size

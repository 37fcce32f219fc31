"""The report of a compile, as data: what was done, how long it took, what is large."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsecomp.inspect.graph import GraphView, stage_of
from sparsecomp.inspect.notebook import report_html
from sparsecomp.inspect.page import write_page
from sparsecomp.inspect.text import plain

if TYPE_CHECKING:
    from sparsecomp.profile import Profile

SCHEMA_VERSION = 1  # of `to_dict`; raised when an entry changes its meaning or goes
_LISTS = ("passes", "decisions", "removed", "staying", "callbacks", "stages", "layers", "calls", "gains")


@dataclass(frozen=True)
class Report:
    """What a compile did.

    Attributes:
        model: name of the model's class.
        target: name of the target.
        signature: the inputs, as text.
        passes: one entry a pass: name, whether it changed anything, seconds, nodes, relative error so far.
        seconds: time of each stage (capture, passes, import, schedule, build, verify).
        nodes: operator calls in the final graph.
        weight_bytes: size of all weights.
        parts: in how many parts the batch is computed, one after the other; 1 for all at once.
        relative_error: of the compiled program against the model on the example inputs; None if not verified.
        kernels: how often each kernel or schedule rule was used.
        decisions: for each weight of a linear or convolution: its candidates, the one chosen, and why.
        tuning: how measurements took part; empty if none did. ``records``: the file they are kept in, or None;
            ``layers``: how many weights they chose the schedule of; ``predicted`` and ``measured``: the seconds of
            those layers; ``trials``, ``failed`` and ``ended``: of the measurements that this compile made; ``notice``:
            why the records could not be read.
        removed: for each group of axes that are tied together and lost slices: where, how many of how many.
        staying: for each group with slices that are constant or not read and stay: how many, and why.
        callbacks: custom operators that nobody can translate, for which the program calls torch.
        stages: the graph at each stage, as `sparsecomp.inspect.graph.GraphView`: ``"captured"``, ``"propagated"`` (with
            what is known of every tensor), ``"removed"``, ``"fused"``, ``"lowered"`` (one call a kernel).
        layers: one entry for each layer of the model, described in `report.schema.json`.
        calls: the calls of compiled functions, in the order in which they run: ``function``, ``rule`` (the kernel or
            schedule rule that made it), ``nodes`` of the fused graph that it computes, their ``layers``, ``inputs``.
        code: the loops of each of these functions.
        gains: of a model that was not compiled, for each target: its name, the predicted seconds of all layers that our
            kernels take with dense weights (``dense``) and as they are (``predicted``), and the ratio (``speedup``).
        profile: what `Compiled.profile` measured, where it was put in; see `with_profile`.
    """

    model: str
    target: str
    signature: str
    passes: tuple[Mapping[str, Any], ...]
    seconds: Mapping[str, float]
    nodes: int
    weight_bytes: int
    parts: int = 1
    relative_error: float | None = None
    kernels: Mapping[str, int] = field(default_factory=dict)
    decisions: tuple[Mapping[str, Any], ...] = ()
    tuning: Mapping[str, Any] = field(default_factory=dict)
    removed: tuple[Mapping[str, Any], ...] = ()
    staying: tuple[Mapping[str, Any], ...] = ()
    callbacks: tuple[str, ...] = ()
    stages: tuple[GraphView, ...] = ()
    layers: tuple[Mapping[str, Any], ...] = ()
    calls: tuple[Mapping[str, Any], ...] = ()
    code: Mapping[str, str] = field(default_factory=dict)
    gains: tuple[Mapping[str, Any], ...] = ()
    profile: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types, as `report.schema.json` in the package `sparsecomp.inspect` describes them."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Report":
        """The inverse of `to_dict`."""
        lists = {name: tuple(data.get(name, ())) for name in _LISTS}
        known = {name: value for name, value in data.items() if name != "schema_version"}
        return Report(**{**known, **lists})

    def to_json(self, path: str | Path) -> None:
        """Write the report to a file."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")

    def stage(self, name: str) -> GraphView:
        """The graph at a stage: captured, propagated, removed, fused or lowered.

        Raises:
            SparsecompError: there is no such stage; the message lists those there are.
        """
        return stage_of(self.stages, name)

    def to_markdown(self) -> str:
        """The summary, a table of the layers, and what runs dense."""
        from sparsecomp.inspect.tables import to_markdown  # only where it is asked for: rich takes time to import

        return to_markdown(self)

    def to_csv(self) -> str:
        """A table of the layers: a row each, seconds and bytes as numbers."""
        from sparsecomp.inspect.tables import to_csv

        return to_csv(self)

    def __rich__(self) -> Any:
        """The same for a terminal."""
        from sparsecomp.inspect.tables import rich_report

        return rich_report(self)

    def explain(self, layer: str) -> str:
        """The story of one layer in sentences; see `Compiled.explain`."""
        from sparsecomp.inspect.explain import explain

        return explain(self, layer)

    def with_profile(self, profile: "Profile") -> "Report":
        """The same report with the times of a profile: each layer has the measured time of its kernels."""
        took = profile.seconds_of_nodes()
        layers = [_timed(row, took) for row in self.layers]
        total = sum(row["measured"] or 0.0 for row in layers)
        for row in layers:
            row["share"] = row["measured"] / total if row["measured"] else None
        return replace(self, layers=tuple(layers), profile=profile.to_dict())

    def to_html(self, path: str | Path) -> None:
        """Write one HTML file that opens from disk in any browser: graph, decisions, pictures of the weights, code.

        Raises:
            SparsecompError: the file cannot be written.
        """
        write_page(self.to_dict(), path)

    def _repr_html_(self) -> str:
        """The layers as a table, for notebooks."""
        return report_html(self.to_dict())

    def __str__(self) -> str:
        error = "not verified" if self.relative_error is None else f"relative error {self.relative_error:.1e}"
        lines = [
            f"{self.model} for {self.target}: {self.nodes} operators, {self.weight_bytes / 1e6:.1f} MB, {error}",
            f"inputs  {self.signature}" + (f", in {self.parts} parts" if self.parts > 1 else ""),
            "seconds " + ", ".join(f"{name} {value:.1f}" for name, value in self.seconds.items()),
            "passes  " + ", ".join(f"{item['name']} {item['seconds']:.2f}" for item in self.passes if item["changed"]),
            "kernels " + ", ".join(f"{name} x{count}" for name, count in sorted(self.kernels.items())),
        ]
        lines = [line for line in lines if not line.endswith(" ")]
        if self.removed:
            lines.append(
                f"removed {sum(item['removed'] for item in self.removed)} slices, in {len(self.removed)} groups"
            )
        for item in self.staying:
            why = "; ".join(reason for reason, _ in item["reasons"])
            lines.append(f"stays   {item['idle']} of {item['slices']} in {item['layer']}: {why}")
        lines += [f"torch   runs {call}" for call in self.callbacks]
        lines += [f"dense   {row['layer']}: {row['dense']}" for row in self.layers if row["dense"]]
        return "\n".join(plain(line, 1000) for line in [*lines, *self._tuning_lines()])

    def _tuning_lines(self) -> list[str]:
        tuning = self.tuning
        if tuning.get("notice"):
            return [f"tuning  {tuning['notice']}"]
        if not tuning:
            return []
        times = f"predicted {tuning['predicted'] * 1e3:.2f} ms, measured {tuning['measured'] * 1e3:.2f} ms"
        source = f"; records {tuning['records']}" if tuning["records"] else ""
        made = f"; {tuning['trials']} trials now, {tuning['failed']} failed" if "trials" in tuning else ""
        chosen = f"{tuning['layers']} of {len(self.decisions)} layers chosen by measurement"
        return [f"tuning  {chosen}: {times}{made}{source}"]


def _timed(row: Mapping[str, Any], took: Mapping[str, float]) -> dict[str, Any]:
    """A layer with the measured time of its nodes, and the figures that depend on it."""
    found = [took[name] for name in row["nodes"] if name in took]
    measured = sum(found) if found and len(found) == len(row["nodes"]) else None
    before = row["measured"] or row["predicted"]
    figures = {name: row[name] for name in ("gflops", "roofline")}
    if measured and before:
        figures = {name: value and value * before / measured for name, value in figures.items()}
    return {**row, **figures, "measured": measured}

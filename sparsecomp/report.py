"""The report of a compile, as data: what was done, how long it took, what is large."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sparsecomp.inspect.graph import GraphView
from sparsecomp.inspect.notebook import report_html
from sparsecomp.inspect.page import write_page

_LISTS = ("passes", "decisions", "removed", "staying", "callbacks", "stages", "layers", "calls")


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
        layers: one entry for each layer of the model, described in docs/report-schema.md.
        calls: the calls of compiled functions, in the order in which they run: ``function``, ``rule`` (the kernel or
            schedule rule that made it), ``nodes`` of the fused graph that it computes, their ``layers``, ``inputs``.
        code: the loops of each of these functions.
    """

    model: str
    target: str
    signature: str
    passes: tuple[Mapping[str, Any], ...]
    seconds: Mapping[str, float]
    nodes: int
    weight_bytes: int
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

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Report":
        """The inverse of `to_dict`."""
        lists = {name: tuple(data.get(name, ())) for name in _LISTS}
        return Report(**{**data, **lists})

    def to_json(self, path: str | Path) -> None:
        """Write the report to a file."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=2) + "\n")

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
            f"inputs  {self.signature}",
            "seconds " + ", ".join(f"{name} {value:.1f}" for name, value in self.seconds.items()),
            "passes  " + ", ".join(item["name"] for item in self.passes if item["changed"]),
            "kernels " + ", ".join(f"{name} x{count}" for name, count in sorted(self.kernels.items())),
        ]
        if self.removed:
            lines.append(
                f"removed {sum(item['removed'] for item in self.removed)} slices, in {len(self.removed)} groups"
            )
        for item in self.staying:
            why = "; ".join(reason for reason, _ in item["reasons"])
            lines.append(f"stays   {item['idle']} of {item['slices']} in {item['layer']}: {why}")
        lines += [f"torch   runs {call}" for call in self.callbacks]
        return "\n".join([*lines, *self._tuning_lines()])

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

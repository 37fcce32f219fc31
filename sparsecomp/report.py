"""The report of a compile, as data: what was done, how long it took, what is large."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


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
        removed: for each group of axes that are tied together and lost slices: where, how many of how many.
        staying: for each group with slices that are constant or not read and stay: how many, and why.
        callbacks: custom operators that nobody can translate, for which the program calls torch.
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
    removed: tuple[Mapping[str, Any], ...] = ()
    staying: tuple[Mapping[str, Any], ...] = ()
    callbacks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Report":
        """The inverse of `to_dict`."""
        lists = {name: tuple(data.get(name, ())) for name in ("passes", "decisions", "removed", "staying", "callbacks")}
        return Report(**{**data, **lists})

    def to_json(self, path: str | Path) -> None:
        """Write the report to a file."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=2) + "\n")

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
        return "\n".join(lines)

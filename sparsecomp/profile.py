"""Where the time of one call goes, kernel by kernel, in the words of the user's model. Needs no torch."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Group
from rich.table import Table
from rich.text import Text

from sparsecomp.inspect.text import plain

if TYPE_CHECKING:
    from sparsecomp.engine import Event


@dataclass(frozen=True)
class KernelTime:
    """One call of a compiled function.

    Attributes:
        function: its name; `Report.code` shows it.
        rule: the kernel or schedule rule that made it.
        nodes: names of the nodes of the fused graph that it computes.
        layers: paths of these in the user's model.
        start: seconds from the begin of the program's run, in the run that the trace shows.
        took: seconds that it took in that run.
        seconds: median over all runs; of a batch in parts, for all parts, where the others are of the first.
    """

    function: str
    rule: str
    nodes: tuple[str, ...]
    layers: tuple[str, ...]
    start: float
    took: float
    seconds: float


@dataclass(frozen=True)
class Profile:
    """A profile of a compiled program; prints as a table with rich.

    Attributes:
        kernels: in the order in which they run.
        latency: median seconds of a call that was not profiled, between those that were.
        runs: how many calls were profiled.
    """

    kernels: tuple[KernelTime, ...]
    latency: float
    runs: int

    @property
    def seconds(self) -> float:
        """The sum of the kernels' times."""
        return sum(kernel.seconds for kernel in self.kernels)

    @property
    def rest(self) -> float:
        """What a call takes beyond its kernels: checking inputs, memory, dispatch."""
        return max(self.latency - self.seconds, 0.0)

    def by_layer(self) -> dict[str, float]:
        """Seconds by path in the user's model, the longest first; a kernel of several layers counts for its first."""
        found: dict[str, float] = {}
        for kernel in self.kernels:
            layer = kernel.layers[0] if kernel.layers else ""
            found[layer] = found.get(layer, 0.0) + kernel.seconds
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def seconds_of_nodes(self) -> dict[str, float]:
        """For each node of the fused graph the time of the kernels that compute it (and what is fused with it)."""
        found: dict[str, float] = {}
        for kernel in self.kernels:
            for node in kernel.nodes:
                found[node] = found.get(node, 0.0) + kernel.seconds
        return found

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        kernels = [
            {**asdict(kernel), "nodes": list(kernel.nodes), "layers": list(kernel.layers)} for kernel in self.kernels
        ]
        return {"latency": self.latency, "seconds": self.seconds, "runs": self.runs, "kernels": kernels}

    def to_json(self, path: str | Path) -> None:
        """Write the profile to a file."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")

    def to_trace(self, path: str | Path) -> None:
        """Write one run as a trace for ``chrome://tracing`` or https://ui.perfetto.dev."""
        events = [_event(kernel) for kernel in self.kernels]
        Path(path).write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}) + "\n", encoding="utf-8")

    def __str__(self) -> str:
        shares = [f"{plain(layer) or '(no layer)'} {taken * 1e3:.3f} ms" for layer, taken in self.by_layer().items()]
        return (
            f"{len(self.kernels)} kernels take {self.seconds * 1e3:.3f} ms of {self.latency * 1e3:.3f} ms a call "
            f"({self.runs} runs); most: {', '.join(shares[:5])}"
        )

    def __rich__(self) -> Group:
        table = Table("kernel", "made by", "layer", "nodes", box=SIMPLE)
        table.add_column("time", justify="right")
        table.add_column("share", justify="right")
        total = self.seconds or 1.0
        for kernel in self.kernels:
            names = (kernel.function, kernel.rule, ", ".join(kernel.layers), ", ".join(kernel.nodes))
            figures = (f"{kernel.seconds * 1e3:.3f} ms", f"{100 * kernel.seconds / total:.1f} %")
            table.add_row(*(Text(plain(name, 80)) for name in names), *figures)
        return Group(table, Text(str(self)))


def profile_of(
    runs: Sequence[Sequence["Event"]], latencies: Sequence[float], calls: Sequence[Mapping[str, Any]], parts: int = 1
) -> Profile:
    """Put measured events together with what is known of the calls.

    Args:
        runs: the events of each profiled run; those that are not calls of compiled functions are left out.
        latencies: seconds of runs that were not profiled.
        calls: what the program runs, `Report.calls`.
        parts: how often it runs that in a run.
    """
    names = {call["function"] for call in calls}
    kernels = [[event for event in run if event.name in names] for run in runs]
    expected = [call["function"] for call in calls] * parts
    assert all([event.name for event in run] == expected for run in kernels), "the program ran other calls than it has"
    total = [_seconds(run) for run in kernels]
    typical = kernels[sorted(range(len(total)), key=total.__getitem__)[len(total) // 2]]
    times = [statistics.median(_seconds(run[index :: len(calls)]) for run in kernels) for index in range(len(calls))]
    found = [
        KernelTime(
            call["function"],
            call["rule"],
            tuple(call["nodes"]),
            tuple(call["layers"]),
            event.start,
            event.seconds,
            seconds,
        )
        for call, event, seconds in zip(calls, typical[: len(calls)], times, strict=True)
    ]
    return Profile(tuple(found), statistics.median(latencies), len(runs))


def _seconds(events: Sequence["Event"]) -> float:
    return sum(event.seconds for event in events)


def _event(kernel: KernelTime) -> Mapping[str, Any]:
    """A complete event; times are in microseconds."""
    return {
        "name": plain(kernel.layers[0] if kernel.layers else kernel.function),
        "cat": kernel.rule,
        "ph": "X",
        "ts": kernel.start * 1e6,
        "dur": kernel.took * 1e6,
        "pid": 1,
        "tid": 1,
        "args": {"function": kernel.function, "nodes": list(kernel.nodes), "layers": list(kernel.layers)},
    }

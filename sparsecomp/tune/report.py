"""What tuning found, as data and as a table."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

from sparsecomp.inspect.notebook import tune_html


@dataclass(frozen=True)
class LayerTuning:
    """What was found for layers that are alike.

    Attributes:
        layers: their paths in the user's model.
        problem: what they compute, as text.
        density: share of the weights that are not zero.
        schedules: how many ways to run them there are.
        trials: schedules that were measured in this run, those that failed among them.
        known: schedules that were on record before.
        failures: ``{"schedule", "reason"}`` of each trial of this run that gave no time.
        predicted: seconds a call that the cost model predicts for its first guess.
        first_guess: measured seconds a call of that guess; None if it was not measured, or failed.
        best: measured seconds a call of the best schedule; None if nothing was measured.
        schedule: the best schedule, as one line of JSON.
    """

    layers: tuple[str, ...]
    problem: str
    density: float
    schedules: int
    trials: int
    known: int
    failures: tuple[Mapping[str, str], ...]
    predicted: float
    first_guess: float | None
    best: float | None
    schedule: str | None

    @property
    def gain(self) -> float:
        """How many times as fast the best schedule is as the first guess; 1 where one of them is not known."""
        return self.first_guess / self.best if self.first_guess and self.best else 1.0


@dataclass(frozen=True)
class TuneReport:
    """What one run of tuning did; a rich renderable.

    Attributes:
        target: name of the target.
        records: the file that keeps the measurements; None if they were not kept.
        seconds: how long it took.
        ended: ``"finished"``, ``"time limit"`` or ``"interrupted"``.
        layers: one entry for each group of layers that are alike.
    """

    target: str
    records: str | None
    seconds: float
    ended: str
    layers: tuple[LayerTuning, ...]

    @property
    def trials(self) -> int:
        """Schedules that were measured in this run."""
        return sum(layer.trials for layer in self.layers)

    @property
    def failed(self) -> int:
        """Trials of this run that gave no time."""
        return sum(len(layer.failures) for layer in self.layers)

    @property
    def gain(self) -> float:
        """How many times as fast all measured layers together are with the best schedules as with the first guesses."""
        return gain((layer.first_guess, layer.best, len(layer.layers)) for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types, with the totals."""
        totals = {"trials": self.trials, "failed": self.failed, "gain": self.gain}
        layers = [{**asdict(layer), "gain": layer.gain} for layer in self.layers]
        return {**asdict(self), **totals, "layers": layers}

    def _repr_html_(self) -> str:
        """The layers as a table, for notebooks."""
        return tune_html(self.to_dict(), str(self).splitlines()[0])

    def __str__(self) -> str:
        ended = "" if self.ended == "finished" else f", stopped early ({self.ended})"
        kept = f"kept in {self.records}" if self.records else "not kept"
        lines = [
            f"tuned {len(self.layers)} distinct layers for {self.target} in {self.seconds:.0f} s{ended}",
            f"{self.trials} trials, {self.failed} failed; measurements are {kept}",
            f"predicted gain of the network's linear layers and convolutions: {self.gain:.2f}x",
        ]
        reasons = [f"  {failure['reason']}: {failure['schedule']}" for item in self.layers for failure in item.failures]
        return "\n".join([*lines, *reasons])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The slowest layers first."""
        table = Table("layer", "density", "trials", "first guess", "best", "gain", box=SIMPLE)
        for item in sorted(self.layers, key=lambda item: -(item.best or 0.0) * len(item.layers)):
            more = f" and {len(item.layers) - 1} alike" if len(item.layers) > 1 else ""
            times = (_milliseconds(item.first_guess), _milliseconds(item.best))
            table.add_row(
                f"{item.layers[0]}{more}", f"{item.density:.3f}", str(item.trials), *times, f"{item.gain:.2f}x"
            )
        yield table
        yield str(self)


def gain(layers: Iterable[tuple[float | None, float | None, int]]) -> float:
    """The sum of first guesses over the sum of bests, of ``(first guess, best, how many layers)``; 1 for none."""
    known = [(first * count, best * count) for first, best, count in layers if first and best]
    return sum(first for first, _ in known) / sum(best for _, best in known) if known else 1.0


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.3f} ms"

"""What to try next: the model's best guesses, then proposals of a sampler that learns from what was measured."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sparsecomp.kernels.schedule import Schedule, is_sparse
from sparsecomp.tune.keys import schedule_text

_KIND = "kind"


class Search:
    """Proposes schedules of one layer, none twice.

    Where the trials suffice, the schedules are simply enumerated, the best guess first. Elsewhere half of the trials go
    to the best guesses (and the best guess of the other kind, dense or sparse), the others to proposals of optuna's
    TPE sampler (Bergstra et al., Algorithms for Hyper-Parameter Optimization, 2011) over the fields of a schedule.

    Args:
        schedules: all there are, those predicted fastest first.
        trials: how many may be measured.
        known: what is known already: seconds, in any unit, by schedule text; None for a schedule that fails.
    """

    def __init__(self, schedules: Sequence[Schedule], trials: int, known: Mapping[str, float | None]) -> None:
        self._schedules = {schedule_text(schedule): schedule for schedule in schedules}
        self._known = {text: seconds for text, seconds in known.items() if text in self._schedules}
        self._trials = trials
        enumerable = len(self._schedules) <= trials
        self._guesses = list(self._schedules) if enumerable else _guesses(self._schedules, max(1, trials // 2))
        self._proposals: _Proposals | None = None

    @property
    def left(self) -> int:
        """How many more schedules will be proposed."""
        return max(0, min(self._trials, len(self._schedules)) - len(self._known))

    def propose(self) -> Schedule | None:
        """The schedule to measure next; None when the trials are spent."""
        if not self.left:
            return None
        guess = next((text for text in self._guesses if text not in self._known), None)
        if guess is None:
            guess = self._sampler().nearest(text for text in self._schedules if text not in self._known)
        return self._schedules[guess]

    def tell(self, schedule: Schedule, seconds: float | None) -> None:
        """What came of measuring a schedule; None: it failed."""
        text = schedule_text(schedule)
        self._known[text] = seconds
        if self._proposals is not None and seconds is not None:
            self._proposals.learn(text, seconds)

    def _sampler(self) -> "_Proposals":
        if self._proposals is None:
            self._proposals = _Proposals(self._schedules)
            for text, seconds in self._known.items():
                if seconds is not None:
                    self._proposals.learn(text, seconds)
        return self._proposals


def _guesses(schedules: Mapping[str, Schedule], count: int) -> list[str]:
    """The first ``count`` schedules; the last of them is the best of the other kind if that is not among them."""
    kinds = {text: is_sparse(schedule) for text, schedule in schedules.items()}
    best = list(kinds)[:count]
    other = next((text for text, kind in kinds.items() if kind != kinds[best[0]]), None)
    return best if other is None or other in best or count == 1 else [best[0], other, *best[1:-1]]


class _Proposals:
    """Optuna's TPE over the fields of schedules; each field is the index of one of its values, in order."""

    def __init__(self, schedules: Mapping[str, Schedule]) -> None:
        import optuna  # here: it takes half a second

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = optuna
        self._study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=1))
        fields = {text: _fields(schedule) for text, schedule in schedules.items()}
        self._values: dict[str, list[Any]] = {}
        for name in sorted({name for given in fields.values() for name in given}):
            values = sorted({given[name] for given in fields.values() if name in given}, key=_order)
            if len(values) > 1:
                self._values[name] = values
        self._indices = {
            text: {name: self._values[name].index(value) for name, value in given.items() if name in self._values}
            for text, given in fields.items()
        }

    def learn(self, text: str, seconds: float) -> None:
        """A schedule took so long."""
        indices = self._indices[text]
        distributions = {name: self._distribution(name) for name in indices}
        self._study.add_trial(
            self._optuna.trial.create_trial(params=indices, distributions=distributions, value=seconds)
        )

    def nearest(self, texts: Iterable[str]) -> str:
        """Of these schedules the one most like what the sampler proposes; not every combination of values exists."""
        trial = self._study.ask()
        proposed = {name: trial.suggest_int(name, 0, len(values) - 1) for name, values in self._values.items()}
        self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)  # what is measured is told by `learn`
        return min(texts, key=lambda text: self._distance(self._indices[text], proposed))

    def _distance(self, indices: Mapping[str, int], proposed: Mapping[str, int]) -> tuple[bool, float]:
        """Another kind is farther than any of the same; else how far apart the fields are, as parts of their range."""
        parts = [abs(index - proposed[name]) / (len(self._values[name]) - 1) for name, index in indices.items()]
        return indices.get(_KIND) != proposed.get(_KIND), sum(parts)

    def _distribution(self, name: str) -> Any:
        return self._optuna.distributions.IntDistribution(0, len(self._values[name]) - 1)


def _fields(schedule: Schedule) -> dict[str, Any]:
    """The fields by name; those of several kinds of schedules are told apart by the name of the kind."""
    kind = type(schedule).__name__
    return {_KIND: kind, **{f"{kind}.{name}": value for name, value in asdict(schedule).items()}}


def _order(value: Any) -> tuple[str, Any]:
    return type(value).__name__, value

"""Measures schedules of the distinct layers, the costliest first, until the trials or the time are spent."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sparsecomp.errors import TuneError
from sparsecomp.kernels.schedule import Schedule
from sparsecomp.program import Program
from sparsecomp.targets import Target, obstacle
from sparsecomp.tune.keys import schedule_text
from sparsecomp.tune.process import TimeOutError, TrialError, Worker
from sparsecomp.tune.records import Records
from sparsecomp.tune.report import LayerTuning, TuneReport, gain
from sparsecomp.tune.search import Search
from sparsecomp.tune.task import Task, collect, weight_bytes
from sparsecomp.tune.timing import Layer
from sparsecomp.tune.worker import Request

TRIAL_SECONDS = 30.0
BATCH = 4  # trials of a layer in a row: the best so far is built once for them


@dataclass(frozen=True)
class Progress:
    """How far tuning has come.

    Attributes:
        done, total: trials.
        gain: of the layers measured so far, how many times as fast the best schedules are as the first guesses.
        layer: what is measured now.
    """

    done: int
    total: int
    gain: float
    layer: str


Observer = Callable[[Progress], None]


def check_arguments(trials: int, time_limit: float | None, least: int = 1) -> None:
    """Refuse numbers that mean nothing.

    Raises:
        TuneError: ``trials`` is no whole number of at least ``least``, or ``time_limit`` not positive.
    """
    if not isinstance(trials, int) or isinstance(trials, bool) or trials < least:
        raise TuneError(f"tune: trials is a whole number of at least {least}, got {trials!r}")
    if time_limit is not None and not (isinstance(time_limit, int | float) and time_limit > 0):
        raise TuneError(f"tune: time_limit is a positive number of seconds or None, got {time_limit!r}")


def check_device(target: Target) -> None:
    """Refuse a target that this machine cannot measure.

    Raises:
        TuneError: says why.
    """
    reason = obstacle(target)
    if reason is not None:
        raise TuneError(
            f"tune: {target.name} cannot be measured here: {reason}; tune on such a machine, where compile then uses "
            "what was measured"
        )


def tune_program(
    program: Program,
    target: Target,
    records: Records,
    trials: int,
    time_limit: float | None = None,
    observe: Observer | None = None,
    worker: Worker | None = None,
) -> TuneReport:
    """Measure schedules of the linear layers and convolutions of a program.

    What is on record counts as measured, so that a run that was interrupted is continued by another. An interrupt from
    the keyboard ends it as the time limit does.

    Args:
        program: after the passes.
        target: the device, which must be this one.
        records: gets every measurement as soon as it is made.
        trials: schedules of each distinct layer, those on record included.
        time_limit: seconds after which no trial begins.
        observe: called before each trial.
        worker: measures; None for a process of its own.
    """
    begin = time.monotonic()
    tasks = collect(program, target)
    passing = weight_bytes(tasks)
    with tempfile.TemporaryDirectory(prefix="sparsecomp-tune-") as scratch, worker or Worker() as process:
        courses = []
        for index, task in enumerate(tasks):
            layer = Layer(task.problem, target, Path(scratch) / str(index), passing)
            courses.append(_Course(task, layer, program, records, process, trials))
        end = float("inf") if time_limit is None else begin + time_limit
        ended = _run(courses, end, observe or (lambda _progress: None))
    path = None if records.path is None else str(records.path)
    return TuneReport(target.name, path, time.monotonic() - begin, ended, tuple(course.summary() for course in courses))


def _run(courses: Sequence["_Course"], end: float, observe: Observer) -> str:
    """Trials in batches, each for the layer that takes the most time for the trials it had; returns why it ended."""
    total = sum(course.left for course in courses)
    try:
        while any(course.left for course in courses):
            course = max((course for course in courses if course.left), key=lambda course: course.urgency)
            for _ in range(min(BATCH, course.left)):
                if time.monotonic() > end:
                    return "time limit"
                left = sum(course.left for course in courses)
                so_far = gain((item.first_guess, item.best, len(item.task.layers)) for item in courses)
                observe(Progress(total - left, total, so_far, course.task.layers[0]))
                course.trial()
    except KeyboardInterrupt:
        return "interrupted"
    return "finished"


@dataclass
class _Course:
    """How far the search for one task has come."""

    task: Task
    layer: Layer
    program: Program
    records: Records
    worker: Worker
    trials: int
    failures: list[dict[str, str]] = field(default_factory=list)
    tried: int = 0

    def __post_init__(self) -> None:
        self._seconds = self.records.measured(self.task.key)
        failed = dict.fromkeys(self.records.failed(self.task.key))
        self._by_text = {schedule_text(schedule): schedule for schedule in self.task.schedules}
        self._search = Search(self.task.schedules, self.trials, {**failed, **self._seconds})
        self._known = sum(text in self._by_text for text in (*failed, *self._seconds))

    @property
    def left(self) -> int:
        return self._search.left

    @property
    def urgency(self) -> float:
        """Seconds that these layers take in the network, by each trial they had."""
        return len(self.task.layers) * (self.best or self.task.predicted) / (self._known + self.tried + 1)

    @property
    def first_guess(self) -> float | None:
        return self._seconds.get(schedule_text(self.task.schedules[0]))

    @property
    def best(self) -> float | None:
        best = self._best()
        return None if best is None else self._seconds[schedule_text(best)]

    def _best(self) -> Schedule | None:
        known = [text for text in self._seconds if text in self._by_text]
        return self._by_text[min(known, key=self._seconds.__getitem__)] if known else None

    def trial(self) -> None:
        """Measure the next schedule, in turns with the best so far."""
        schedule, best = self._search.propose(), self._best()
        assert schedule is not None
        self._write_operands()
        try:
            seconds, reference = self._ask(Request(self.layer, schedule, best, TRIAL_SECONDS))
        except TrialError as error:
            self._fail(schedule, str(error))
        else:
            if best is not None and reference is not None:  # seconds of the moment at which the best was measured
                seconds *= self._seconds[schedule_text(best)] / reference
            self._keep(schedule, seconds)
        self.tried += 1

    def _ask(self, request: Request) -> tuple[float, float | None]:
        """A second time-out is believed; the first may be that of a machine that slept, or of a process held up."""
        try:
            return self.worker.ask(request)
        except TimeOutError:
            return self.worker.ask(request)

    def _keep(self, schedule: Schedule, seconds: float) -> None:
        text = schedule_text(schedule)
        self._seconds[text] = seconds
        self.records.add(self.task.key, text, seconds=seconds)
        self._search.tell(schedule, seconds)

    def _fail(self, schedule: Schedule, reason: str) -> None:
        text = schedule_text(schedule)
        self.failures.append({"schedule": text, "reason": reason})
        self.records.add(self.task.key, text, failure=reason)
        self._search.tell(schedule, None)

    def _write_operands(self) -> None:
        if not self.layer.directory.exists():
            self.layer.directory.mkdir()
            self.task.write_operands(self.program, self.layer.directory)

    def summary(self) -> LayerTuning:
        best = self._best()
        return LayerTuning(
            layers=tuple(self.task.layers),
            problem=str(self.task.problem),
            density=self.task.density,
            schedules=len(self.task.schedules),
            trials=self.tried,
            known=self._known,
            failures=tuple(self.failures),
            predicted=self.task.predicted,
            first_guess=self.first_guess,
            best=self.best,
            schedule=None if best is None else schedule_text(best),
        )

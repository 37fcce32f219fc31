"""Shows tuning as it goes: a bar with the gain so far."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from sparsecomp.tune.tuner import Observer, Progress


@contextmanager
def bar(shown: bool | None) -> Iterator[Observer]:
    """Gives the observer that moves a bar on standard error.

    Args:
        shown: whether there is one; None: where standard error is a terminal.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("tuning"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    hidden = not (console.is_terminal if shown is None else shown)
    with Bar(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task("", total=None)

        def observe(state: Progress) -> None:
            description = escape(f"{state.gain:.2f}x so far, {state.layer}")
            progress.update(task, completed=state.done, total=state.total, description=description)

        yield observe

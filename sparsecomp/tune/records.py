"""Measurements that are kept: one SQLite file, a row for each, safe when several processes write."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

from sparsecomp.errors import TuneError
from sparsecomp.kernels.cost import WeightStats
from sparsecomp.kernels.problem import LinearProblem, Problem
from sparsecomp.kernels.schedule import Schedule
from sparsecomp.targets import Target
from sparsecomp.tune.keys import Key, bare, distance, key_of, schedule_text

VARIABLE = "SPARSECOMP_RECORDS"
OFF = "off"
SCHEMA = 1
BUSY_SECONDS = 30.0
_APPLICATION = 0x73706372  # "spcr": SQLite's mark for whose file it is
_TABLE = """
CREATE TABLE measurements (
    device TEXT NOT NULL, kernel TEXT NOT NULL, problem TEXT NOT NULL, pattern TEXT NOT NULL,
    schedule TEXT NOT NULL, seconds REAL, failure TEXT, measured_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)
"""
_INDEX = "CREATE INDEX by_layer ON measurements (device, kernel, problem)"
_OF_LAYER = "FROM measurements WHERE device = ? AND kernel = ? AND problem = ?"
_OF_KEY = f"{_OF_LAYER} AND pattern = ?"


def location(records: str | Path | None = None) -> Path | None:
    """Where measurements are kept; None: nowhere.

    Args:
        records: a file or ``"off"``; None for the one that the environment variable SPARSECOMP_RECORDS names, else
            ``sparsecomp/tuning.sqlite`` in the user's cache directory.

    Raises:
        TuneError: there is no home directory.
    """
    chosen = records or os.environ.get(VARIABLE)
    if chosen is not None and str(chosen).lower() == OFF:
        return None
    cache = os.environ.get("XDG_CACHE_HOME", "")  # the specification: to be ignored unless absolute
    home = Path(cache) if Path(cache).is_absolute() else Path("~/.cache")
    try:
        return Path(chosen or home / "sparsecomp" / "tuning.sqlite").expanduser()
    except RuntimeError as error:
        raise TuneError(f'tune: {error} Name a file for the records in {VARIABLE}, or "{OFF}"') from error


class Records:
    """The measurements in one file; a context manager that closes it.

    Args:
        path: the file; None for records that are forgotten when it is closed.
        write: make the file, and its directory, where it is missing. Without it a missing file is one without records.

    Raises:
        TuneError: the file is damaged, not ours, of a newer format, or cannot be written.
    """

    def __init__(self, path: Path | None, write: bool) -> None:
        self.path = path
        try:
            self._db = _open(path, write)
        except (sqlite3.Error, OSError) as error:
            raise TuneError(
                f"tune: the records {path} cannot be {'written' if write else 'read'} ({error}); name another file in "
                f'{VARIABLE} or with records=, delete this one if it is damaged, or do without: "{OFF}"'
            ) from error

    def __enter__(self) -> "Records":
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def nearest(self, key: Key) -> Key:
        """The key with the nearest pattern that was measured; the same key where none is near."""
        rows = self._rows(f"SELECT DISTINCT pattern {_OF_LAYER}", key.device, key.kernel, key.problem)
        distances = [(distance(pattern, key.pattern), pattern) for (pattern,) in rows]
        near = [(far, pattern) for far, pattern in distances if far is not None]
        return replace(key, pattern=min(near)[1]) if near else key

    def measured(self, key: Key) -> dict[str, float]:
        """The least seconds of each schedule that was measured."""
        least = f"SELECT schedule, MIN(seconds) {_OF_KEY} AND seconds IS NOT NULL GROUP BY schedule"
        return dict(self._rows(least, *astuple(key)))

    def failed(self, key: Key) -> dict[str, str]:
        """The schedules that never gave a time, with the reason."""
        measured = self.measured(key)
        rows = self._rows(f"SELECT schedule, failure {_OF_KEY} AND failure IS NOT NULL", *astuple(key))
        return {schedule: reason for schedule, reason in rows if schedule not in measured}

    def add(self, key: Key, schedule: str, seconds: float | None = None, failure: str | None = None) -> None:
        """Keep one measurement: its seconds, or why there are none.

        Raises:
            TuneError: the file cannot be written.
        """
        try:
            self._db.execute(
                "INSERT INTO measurements (device, kernel, problem, pattern, schedule, seconds, failure) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*astuple(key), schedule, seconds, failure),
            )
        except sqlite3.Error as error:
            raise TuneError(f"tune: the records {self.path} cannot be written: {error}") from error

    def lookup(
        self, target: Target
    ) -> Callable[[Problem, Sequence[int], WeightStats, Sequence[Schedule]], Mapping[Schedule, float]]:
        """A function from a layer and its schedules to the seconds of those that were measured on a device."""

        def measured(
            problem: Problem, shape: Sequence[int], stats: WeightStats, schedules: Sequence[Schedule]
        ) -> Mapping[Schedule, float]:
            known = self.measured(self.nearest(key_of(target, problem, shape, stats)))
            texts = {schedule: schedule_text(schedule) for schedule in schedules} if known else {}
            return {schedule: known[text] for schedule, text in texts.items() if text in known}

        return measured

    def fastest(self, target: Target) -> Callable[[Problem, WeightStats], float | None]:
        """A function from a layer to the least seconds that one like it took on a device; None where none is near.

        What follows the layer in the kernel (bias, residual, activation) does not matter.
        """
        key = key_of(target, LinearProblem(1, 1, 1), (), WeightStats.unstructured(1.0))  # for device and kernel
        rows = self._rows(
            "SELECT problem, pattern, MIN(seconds) FROM measurements WHERE device = ? AND kernel = ? AND "
            "seconds IS NOT NULL GROUP BY problem, pattern",
            key.device,
            key.kernel,
        )
        known: dict[str, list[tuple[str, float]]] = {}
        for problem, pattern, seconds in rows:
            known.setdefault(bare(problem), []).append((pattern, seconds))

        def least(problem: Problem, stats: WeightStats) -> float | None:
            key = key_of(target, problem, (), stats)
            found = known.get(bare(key.problem), ())
            near = [(far, s) for pattern, s in found if (far := distance(pattern, key.pattern)) is not None]
            return min(near)[1] if near else None

        return least

    def _rows(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise TuneError(
                f"tune: the records {self.path} cannot be read ({error}); delete them if damaged"
            ) from error


def _open(path: Path | None, write: bool) -> sqlite3.Connection:
    if path is None or not (write or path.exists()):
        return _prepared(sqlite3.connect(":memory:", isolation_level=None))
    if write:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = "mode=rwc"
    else:  # readers share a small file beside it with the writers, unless it is in a place that nobody can write to
        mode = "mode=rw" if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK) else "immutable=1"
    uri = f"{path.absolute().as_uri()}?{mode}"
    db = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        if write:
            return _prepared(db)
        if _has_records(db):
            return db
    except BaseException:
        db.close()
        raise
    db.close()
    return _open(None, write)


def _prepared(db: sqlite3.Connection) -> sqlite3.Connection:
    """Make the table in a new file."""
    _has_records(db)  # raises for what must not be written to
    _patiently(db, "PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("BEGIN IMMEDIATE")  # of two processes that find a new file, the second waits here
    if _number(db, "user_version") == 0:
        for statement in (_TABLE, _INDEX, f"PRAGMA application_id = {_APPLICATION}", f"PRAGMA user_version = {SCHEMA}"):
            db.execute(statement)
    db.execute("COMMIT")
    return db


def _has_records(db: sqlite3.Connection) -> bool:
    """Whether the table is there already; raises where the file is not ours."""
    db.execute("BEGIN")  # one view of the file, while another process may be making the table
    application, schema = _number(db, "application_id"), _number(db, "user_version")
    tables = db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
    db.execute("COMMIT")
    if application != _APPLICATION and (application or schema or tables):
        raise sqlite3.DatabaseError("it is a database of something else")
    if schema > SCHEMA:
        raise sqlite3.DatabaseError(f"it has format {schema} and this sparsecomp knows {SCHEMA}: upgrade sparsecomp")
    return bool(tables)


def _number(db: sqlite3.Connection, pragma: str) -> int:
    return int(db.execute(f"PRAGMA {pragma}").fetchone()[0])


def _patiently(db: sqlite3.Connection, statement: str) -> None:
    """Run a statement that SQLite refuses at once, without waiting, while another process runs it too."""
    end = time.monotonic() + BUSY_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(sqlite3.OperationalError):
            db.execute(statement)
            return
        time.sleep(0.01)
    db.execute(statement)

import sqlite3
import subprocess
import sys
from dataclasses import replace

import pytest

from sparsecomp.errors import TuneError
from sparsecomp.kernels.cost import WeightStats
from sparsecomp.kernels.problem import Epilogue, LinearProblem
from sparsecomp.kernels.space import space
from sparsecomp.targets import detect
from sparsecomp.tune.keys import Key, key_of, schedule_text
from sparsecomp.tune.records import SCHEMA, Records, location

KEY = Key("a device", "row-panel-1", "a problem", "[0.1, 0.19]")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "made" / "on demand" / "records?.sqlite"


def fill(path, *rows, key=KEY):
    with Records(path, write=True) as records:
        for row in rows:
            records.add(key, *row)


def read(path, key=KEY):
    with Records(path, write=False) as records:
        return records.measured(records.nearest(key))


def test_what_was_added_is_found_by_another_process(path):
    fill(path, ("fast", 1.0), ("slow", 3.0), ("slow", 2.0))
    assert read(path) == {"fast": 1.0, "slow": 2.0}


def test_failures_are_found_unless_another_trial_succeeded(path):
    fill(path, ("good", 1.0), ("bad", None, "it crashed"), ("good", None, "once"))
    with Records(path, write=False) as records:
        assert records.failed(KEY) == {"bad": "it crashed"}
        assert records.measured(KEY) == {"good": 1.0}


def test_the_fastest_of_a_layer_is_found_whatever_follows_it(path):
    target, stats = detect(), WeightStats.unstructured(0.1)
    layer = LinearProblem(16, 64, 32)
    followed = replace(layer, epilogue=Epilogue(bias=True, activation="relu"))
    for problem, shape, seconds in ((layer, (16, 64), 3.0), (followed, (1, 16, 64), 2.0)):
        fill(path, ("a schedule", seconds), ("another", seconds + 1), key=key_of(target, problem, shape, stats))
    with Records(path, write=False) as records:
        fastest = records.fastest(target)
    assert fastest(layer, stats) == 2.0
    assert fastest(layer, WeightStats.unstructured(0.5)) is None
    assert fastest(replace(layer, tokens=17), stats) is None
    assert fastest(replace(layer, out_features=33), stats) is None


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, device="another device"),
        replace(KEY, kernel="row-panel-0"),
        replace(KEY, problem="another problem"),
        replace(KEY, pattern="[0.2, 0.36]"),
    ],
    ids=["device", "kernel version", "problem", "pattern"],
)
def test_measurements_of_something_else_are_not_used(path, other):
    fill(path, ("fast", 1.0), key=other)
    assert read(path) == {}


def test_only_the_nearest_pattern_counts(path):
    """Seconds of different densities are not compared with each other."""
    fill(path, ("a", 1.0), key=replace(KEY, pattern="[0.104, 0.19]"))
    fill(path, ("b", 2.0), key=replace(KEY, pattern="[0.101, 0.19]"))
    assert read(path) == {"b": 2.0}


def test_lookup_gives_the_seconds_of_the_schedules_there_are(path):
    problem, stats = LinearProblem(8, 16, 32), WeightStats.unstructured(0.1)
    schedules = space(problem, stats, detect())
    key = key_of(detect(), problem, (8, 16), stats)
    fill(path, (schedule_text(schedules[3]), 1.5), ("a schedule of the past", 0.5), key=key)
    with Records(path, write=False) as records:
        assert records.lookup(detect())(problem, (8, 16), stats, schedules) == {schedules[3]: 1.5}
        other = replace(detect(), l2_bytes=1 << 30)
        assert records.lookup(other)(problem, (8, 16), stats, schedules) == {}


def test_without_a_file_they_are_forgotten():
    with Records(None, write=True) as records:
        records.add(KEY, "fast", 1.0)
        assert records.measured(KEY) == {"fast": 1.0}
    assert read(None) == {}


def test_reading_makes_no_file(path):
    assert read(path) == {}
    assert not path.parent.exists()


def test_an_empty_file_has_no_records_and_takes_some(tmp_path):
    path = tmp_path / "empty"
    path.touch()
    assert read(path) == {}
    fill(path, ("fast", 1.0))
    assert read(path) == {"fast": 1.0}


WRITER = """
import sys
from pathlib import Path
from sparsecomp.tune.keys import Key
from sparsecomp.tune.records import Records
print("ready", flush=True)
sys.stdin.readline()
with Records(Path(sys.argv[1]), write=True) as records:
    for i in range(100):
        records.add(Key("a device", "row-panel-1", "a problem", "[0.1, 0.19]"), f"{sys.argv[2]}-{i}", float(i))
"""


def test_two_processes_write_at_once(path):
    """Both find no file, make it, and fill it."""
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [
        subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for name in "ab"
    ]
    assert [writer.stdout.readline() for writer in writers] == ["ready\n"] * 2
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
    assert [writer.returncode for writer in writers] == [0, 0]
    assert read(path) == {f"{name}-{i}": float(i) for name in "ab" for i in range(100)}


def damaged(path):
    path.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 40)


def text(path):
    path.write_text("measurements\n" * 100)


def foreign(path):
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE users (name TEXT)")
    database.close()


def newer(path):
    fill(path, ("fast", 1.0))
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    database.close()


BAD = {damaged: "malformed|not a database", text: "not a database", foreign: "something else", newer: "upgrade"}


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_a_file_that_is_not_ours_is_refused_and_left_alone(tmp_path, make, write):
    path = tmp_path / "records.sqlite"
    make(path)
    before = path.read_bytes()
    with pytest.raises(TuneError, match=rf"records .*records.sqlite cannot be .*({BAD[make]}).*name another file"):
        Records(path, write)
    assert path.read_bytes() == before


def test_rows_that_are_damaged_are_an_error(path):
    fill(path, *((f"schedule {i}", 1.0) for i in range(500)))
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(TuneError, match="delete"):
        read(path)


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TuneError, match=r'cannot be written .*"off"'):
        Records(tmp_path / "file" / "records.sqlite", write=True)
    with pytest.raises(TuneError, match="cannot be written"):
        Records(tmp_path, write=True)


def test_a_file_that_nobody_may_write_is_read(path, monkeypatch):
    """As from a read-only file system; SQLite must not look for a lock beside it."""
    fill(path, ("fast", 1.0))
    monkeypatch.setattr("os.access", lambda *_: False)
    assert read(path) == {"fast": 1.0}
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_where_records_are_kept(monkeypatch, tmp_path):
    monkeypatch.delenv("SPARSECOMP_RECORDS")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative, so to be ignored")
    assert location() == tmp_path / ".cache" / "sparsecomp" / "tuning.sqlite"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert location() == tmp_path / "cache" / "sparsecomp" / "tuning.sqlite"
    monkeypatch.setenv("SPARSECOMP_RECORDS", "~/mine")
    assert location() == tmp_path / "mine"
    assert location("given") == location(location("given"))
    assert location("off") is None
    monkeypatch.setenv("SPARSECOMP_RECORDS", "OFF")
    assert location() is None
    assert location("given").name == "given"

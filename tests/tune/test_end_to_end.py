"""sparsecomp.tune and compile(tune=): on small models, with real processes and real kernels."""

import sqlite3
import sys

import pytest
import torch
from torch import nn

import sparsecomp
from sparsecomp.errors import CaptureError, TargetError, TuneError
from sparsecomp.targets import detect
from sparsecomp.tune import process, tuner
from tests.graphs import assert_close, net
from tests.tune.helpers import FakeWorker, sparse, two_kinds


@pytest.fixture
def path(tmp_path, monkeypatch):
    path = tmp_path / "records.sqlite"
    monkeypatch.setenv("SPARSECOMP_RECORDS", str(path))
    return path


@pytest.fixture
def fake(monkeypatch):
    """No process: every schedule is faster than the one before, so that the last one tried is the best."""
    known = {}
    worker = FakeWorker(lambda schedule: known.setdefault(schedule, 1.0 / (1 + len(known))))
    monkeypatch.setattr(tuner, "Worker", lambda: worker)
    return worker


def chosen(compiled):
    return {entry["layer"]: entry["chosen"] for entry in compiled.report.decisions}


def test_what_was_measured_is_chosen_by_later_compiles(path):
    model, x = two_kinds()
    report = sparsecomp.tune(model, "native", (x,), trials=3)
    assert (report.ended, report.failed, report.trials) == ("finished", 0, 6)
    assert report.records == str(path)
    compiled = sparsecomp.compile(model, "native", (x,))
    assert_close(compiled(x), model(x).detach())
    best = {layer: item for item in report.layers for layer in item.layers}
    assert {name: way["measured"] for name, way in chosen(compiled).items()} == {
        name: item.best for name, item in best.items()
    }
    for entry in compiled.report.decisions:
        assert "the fastest of 3 measured" in entry["reason"]
        assert sum(candidate["measured"] is not None for candidate in entry["candidates"]) == 3
    tuning = compiled.report.tuning
    assert (tuning["records"], tuning["layers"]) == (str(path), 3)
    assert tuning["measured"] == pytest.approx(2 * best["first"].best + best["head"].best)
    assert "3 of 3 layers chosen by measurement: predicted " in str(compiled.report)


def test_records_serve_another_model_with_equal_layers(path, fake):
    model, x = two_kinds()
    sparsecomp.tune(model, "native", (x,), trials=3)
    other = net(lambda net, x: net.tail(net.body(x).relu()), body=nn.Linear(48, 48), tail=nn.Linear(48, 24))
    sparse(other.body)
    compiled = sparsecomp.compile(other, "native", (x,))
    assert {name: way["measured"] is not None for name, way in chosen(compiled).items()} == {
        "body": True,
        "tail": False,
    }
    assert compiled.report.tuning["layers"] == 1


def test_compile_tunes_first_and_says_so(path, fake):
    model, x = two_kinds()
    stages = []
    compiled = sparsecomp.compile(model, "native", (x,), tune=2, progress=stages.append)
    assert_close(compiled(x), model(x).detach())
    assert all(way["measured"] is not None for way in chosen(compiled).values())
    assert [stage for stage in stages if stage.startswith("tune")][:2] == ["tune", "tune, 0 of 4 trials, 1.00x so far"]
    assert compiled.report.seconds["tune"] > 0
    assert {name: compiled.report.tuning[name] for name in ("trials", "failed", "ended", "layers")} == {
        "trials": 4,
        "failed": 0,
        "ended": "finished",
        "layers": 3,
    }
    assert "4 trials now, 0 failed" in str(compiled.report)
    again = sparsecomp.compile(model, "native", (x,), tune=2)
    assert again.report.tuning["trials"] == 0
    assert chosen(again) == chosen(compiled)


def test_without_records_a_compile_still_uses_what_it_measured(monkeypatch, fake, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # SPARSECOMP_RECORDS is off, by the fixture of all tests
    model, x = two_kinds()
    compiled = sparsecomp.compile(model, "native", (x,), tune=2)
    assert compiled.report.tuning["records"] is None
    assert compiled.report.tuning["layers"] == 3
    assert sparsecomp.compile(model, "native", (x,)).report.tuning == {}
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_said_where_nothing_was_measured(path):
    model, x = two_kinds()
    report = sparsecomp.compile(model, "native", (x,)).report
    assert report.tuning == {}
    assert "tuning" not in str(report)
    assert not path.exists()


def test_records_of_older_kernels_are_not_used(path, fake):
    model, x = two_kinds()
    sparsecomp.tune(model, "native", (x,), trials=2)
    database = sqlite3.connect(path)
    database.execute("UPDATE measurements SET kernel = 'row-panel-of-last-year'")
    database.commit()
    database.close()
    assert sparsecomp.compile(model, "native", (x,)).report.tuning == {}


def test_the_saved_report_has_the_measurements(path, fake, tmp_path):
    model, x = two_kinds()
    compiled = sparsecomp.compile(model, "native", (x,), tune=2)
    compiled.save(tmp_path / "model.spc")
    assert sparsecomp.load(tmp_path / "model.spc").report.tuning == compiled.report.tuning


def test_records_that_cannot_be_read_do_not_stop_a_compile(path):
    path.write_text("not a database" * 100)
    model, x = two_kinds()
    compiled = sparsecomp.compile(model, "native", (x,))
    assert_close(compiled(x), model(x).detach())
    assert "cannot be read" in compiled.report.tuning["notice"]
    assert "cannot be read" in str(compiled.report)
    with pytest.raises(TuneError, match="cannot be written"):
        sparsecomp.compile(model, "native", (x,), tune=1)
    with pytest.raises(TuneError, match="cannot be written"):
        sparsecomp.tune(model, "native", (x,))


def test_a_compiled_program_can_be_tuned(path, fake):
    model, x = two_kinds()
    compiled = sparsecomp.compile(model, "native", (x,))
    assert sparsecomp.tune(compiled, trials=2).trials == 4
    assert all(way["measured"] is not None for way in chosen(sparsecomp.compile(model, "native", (x,))).values())


def test_an_exported_program_can_be_tuned(fake):
    model, x = two_kinds()
    assert sparsecomp.tune(torch.export.export(model, (x,)), trials=2, records="off").trials == 4


def test_the_program_that_is_tuned_stays_as_it_was(fake):
    model, x = two_kinds()
    compiled = sparsecomp.compile(model, "native", (x,))
    sparsecomp.tune(compiled, trials=2, records="off")
    assert_close(compiled.program("fused")(x), model(x).detach())


def test_an_interrupt_of_a_compile_ends_the_tuning_only(path, monkeypatch):
    worker = FakeWorker(lambda _: KeyboardInterrupt() if len(worker.requests) == 2 else 1.0)
    monkeypatch.setattr(tuner, "Worker", lambda: worker)
    model, x = two_kinds()
    compiled = sparsecomp.compile(model, "native", (x,), tune=8)
    assert (compiled.report.tuning["ended"], compiled.report.tuning["trials"]) == ("interrupted", 1)
    assert_close(compiled(x), model(x).detach())


BAD = [
    (lambda m, x, p: sparsecomp.tune(m, "native", (x,), trials=0), TuneError, "trials is a whole number"),
    (lambda m, x, p: sparsecomp.tune(m, "native", (x,), time_limit=-1), TuneError, "time_limit is a positive"),
    (lambda m, x, p: sparsecomp.compile(m, "native", (x,), tune=-1), TuneError, "number of at least 0"),
    (lambda m, x, p: sparsecomp.compile(m, "native", (x,), tune=True), TuneError, "trials is a whole number"),
    (lambda m, x, p: sparsecomp.tune(m, "cray-1", (x,)), TargetError, "no target 'cray-1'"),
    (lambda m, x, p: sparsecomp.tune(m, OTHER, (x,)), TuneError, "cannot be measured here: it is for"),
    (lambda m, x, p: sparsecomp.compile(m, OTHER, (x,), tune=1), TuneError, "cannot be measured here: it is for"),
    (lambda m, x, p: sparsecomp.tune(lambda x: x, "native", (x,)), CaptureError, "expected a torch.nn.Module"),
    (lambda m, x, p: sparsecomp.tune(m, "native"), CaptureError, "hold no tensor"),
    (lambda m, x, p: sparsecomp.tune(m, "native", (x,), records=p), TuneError, "cannot be written"),
    (lambda m, x, p: sparsecomp.tune(compiled(m, x), "native", (x,)), TuneError, "leave args, kwargs"),
    (lambda m, x, p: sparsecomp.tune(saved(m, x, p)), TuneError, "loaded from a file.*tune the model, compile"),
]  # fmt: skip
OTHER = next(target for target in sparsecomp.targets() if target.arch != detect().arch)


def compiled(model, x):
    return sparsecomp.compile(model, "native", (x,))


def saved(model, x, directory):
    compiled(model, x).save(directory / "model.spc")
    return sparsecomp.load(directory / "model.spc")


@pytest.mark.parametrize(("bad", "error", "message"), BAD)
def test_bad_calls_are_answered_before_anything_is_measured(tmp_path, monkeypatch, bad, error, message):
    monkeypatch.setattr(tuner, "Worker", lambda: pytest.fail("measured"))
    with pytest.raises(error, match=message):
        bad(*two_kinds(), tmp_path)


SCRIPT = """
import os, sys, threading, time, signal
import torch
import sparsecomp

def interrupt():
    import sqlite3
    while True:
        time.sleep(0.1)
        try:
            database = sqlite3.connect(sys.argv[1])
            if database.execute("SELECT COUNT(*) FROM measurements").fetchone()[0]:
                return os.kill(os.getpid(), signal.SIGINT)
        except sqlite3.Error:
            pass

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
threading.Thread(target=interrupt, daemon=True).start()
model, x = torch.nn.Linear(512, 512).eval(), torch.ones(64, 512)
report = sparsecomp.tune(model, "native", (x,), trials=300,
                         records=sys.argv[1])
print(report.ended, report.trials > 0, report.trials < 150)
"""


def test_an_interrupt_from_the_keyboard_gives_the_report(tmp_path):
    """In a script without ``if __name__``, which the process that measures must not run again."""
    import subprocess

    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(tmp_path / "records.sqlite")]
    environment = {**process._path(), "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.stdout == "interrupted True True\n", done.stderr
    with sqlite3.connect(tmp_path / "records.sqlite") as database:
        assert database.execute("SELECT COUNT(*) FROM measurements").fetchone()[0] > 0

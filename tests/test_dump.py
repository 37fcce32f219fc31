"""Dumps: one numbered file a step, the same in every run and process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sparsecomp
from sparsecomp.dump import Dump
from sparsecomp.errors import SparsecompError
from sparsecomp.program import PassRecord
from tests.graphs import net, program, tensor

ROOT = Path(__file__).parent.parent
COMPILE = """
import sys
from pathlib import Path
import torch
from torch import nn
import sparsecomp
from tests.graphs import net, tensor

def forward(net, x):
    y = net.norm(net.conv(x)).relu()
    return net.head(y.mean((2, 3)) + torch.arange(4) * 0.5).softmax(-1)

model = net(forward, conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4), head=nn.Linear(4, 5))
batch = {"inputs": ({0: torch.export.Dim("batch")},)}
def compile(directory):
    sparsecomp.compile(model, "x86-64-v3", (tensor(2, 3, 8, 8),), dynamic_shapes=batch, dump=directory, verify=False)
"""


def contents(directory):
    return {path.name: path.read_text() for path in sorted(directory.iterdir())}


@pytest.fixture(scope="module")
def dumped(tmp_path_factory):
    """The files of one run, and those of a second run of the same process."""
    scope = {}
    exec(COMPILE, scope)
    directories = [tmp_path_factory.mktemp("dump") for _ in range(2)]
    for directory in directories:
        scope["compile"](directory)
    return [contents(directory) for directory in directories]


def test_files_are_numbered_one_for_each_pass_that_changed_something(dumped):
    assert list(dumped[0]) == [
        "00-captured.txt",
        "01-canonicalize.txt",
        "02-fold-constants.txt",
        "03-fold-batch-norm.txt",
        "04-eliminate-dead.txt",
        "05-fuse-epilogues.txt",
        "06-relax.txt",
        "07-tir.txt",
        "08-scheduled.txt",
    ]


def test_each_file_shows_its_step(dumped):
    files = dumped[0]
    assert "aten.batch_norm" in files["02-fold-constants.txt"]
    assert "aten.batch_norm" not in files["03-fold-batch-norm.txt"]
    assert "sparsecomp.conv" in files["05-fuse-epilogues.txt"]
    assert "R.function" in files["06-relax.txt"]
    assert "T.prim_func" in files["07-tir.txt"]
    assert "T.vectorized" in files["08-scheduled.txt"]


def test_two_runs_write_the_same(dumped):
    assert dumped[0] == dumped[1]


def test_two_processes_write_the_same(dumped, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "12345"}
    script = f"{COMPILE}\ncompile(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", script, tmp_path], env=environment, cwd=ROOT, check=True)
    assert contents(tmp_path) == dumped[0]


def test_a_pass_that_changed_nothing_writes_nothing(tmp_path):
    dump, captured = Dump(tmp_path), program(lambda net, x: x + 1, tensor(2))
    dump.captured(captured)
    dump.after_pass(PassRecord("first", False, 0.0, 3), captured)
    dump.after_pass(PassRecord("second", True, 0.0, 3), captured)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["00-captured.txt", "01-second.txt"]


def test_files_of_the_run_before_are_replaced_and_others_stay(tmp_path):
    (tmp_path / "07-stale.txt").write_text("of the run before")
    (tmp_path / "notes.txt").write_text("of the user")
    Dump(tmp_path).captured(program(lambda net, x: x + 1, tensor(2)))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["00-captured.txt", "notes.txt"]


def test_the_directory_is_made(tmp_path):
    Dump(tmp_path / "a" / "b").captured(program(lambda net, x: x + 1, tensor(2)))
    assert (tmp_path / "a" / "b" / "00-captured.txt").is_file()


def test_without_a_directory_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dump, captured = Dump(None), program(lambda net, x: x + 1, tensor(2))
    dump.captured(captured)
    dump.after_pass(PassRecord("first", True, 0.0, 3), captured)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_an_error_before_anything_else(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SparsecompError, match=r"dump: cannot write to .*file.*; name another directory"):
        sparsecomp.compile(net(lambda net, x: x + 1), "native", (tensor(2),), dump=tmp_path / "file")

"""The command ``inspect``."""

import json

import pytest
import torch
from typer.testing import CliRunner

from sparsecomp.cli import app
from tests.inspect.models import compiled, inputs, model
from tests.inspect.test_render import needs_graphviz


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("inspect")
    compiled().save(directory / "model.spc")
    torch.export.save(torch.export.export(model(), inputs()), directory / "model.pt2")
    return directory


def run(*arguments):
    result = CliRunner().invoke(app, ["inspect", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_program(files):
    assert "removed 128 slices" in run(files / "model.spc")


def test_a_model_with_what_targets_gain(files):
    assert "riscv64" in run(files / "model.pt2")


def test_one_layer(files):
    assert "It runs sparse" in run(files / "model.spc", "--layer", "hidden")


def test_files_are_written(files, tmp_path):
    names = {"--json": "r.json", "--markdown": "r.md", "--csv": "r.csv", "--html": "r.html"}
    options = [part for option, name in names.items() for part in (option, tmp_path / name)]
    assert run(files / "model.spc", *options).count("wrote") == 4
    assert all((tmp_path / name).stat().st_size > 300 for name in names.values())
    assert json.loads((tmp_path / "r.json").read_text())["schema_version"] == 1


def test_graphs_and_differences(files):
    assert "sparsecomp.conv.default" in run(files / "model.spc", "--graph", "fused")
    assert run(files / "model.spc", "--graph", "fused", "--format", "dot").startswith("digraph")
    assert run(files / "model.spc", "--diff", "captured", "fused").startswith("captured -> fused: 16 removed")
    assert (
        json.loads(run(files / "model.spc", "--diff", "captured", "fused", "--format", "json"))["before"] == "captured"
    )


@needs_graphviz
def test_pictures(files):
    assert "</svg>" in run(files / "model.spc", "--diff", "captured", "fused", "--format", "svg")
    assert "</svg>" in run(files / "model.spc", "--graph", "lowered", "--format", "svg")

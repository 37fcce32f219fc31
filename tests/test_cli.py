from collections import namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import sparsecomp
from sparsecomp import cli
from sparsecomp.errors import InputError, TargetError
from sparsecomp.targets import available

COMMANDS = ("compile", "run", "bench", "tune", "prune", "targets", "demo")


class Affine(torch.nn.Module):
    def forward(self, x, *, shift):
        return 2 * x + shift


@pytest.fixture
def model(tmp_path):
    """A file of torch.export.save with one positional and one keyword input."""
    path = tmp_path / "affine.pt2"
    torch.export.save(torch.export.export(Affine(), (torch.ones(3),), {"shift": torch.ones(3)}), path)
    return path


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "affine.spc"
    path.write_bytes(b"a program")
    return path


@pytest.fixture
def inputs(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, b=np.zeros(3, np.float32), a=np.ones((2, 2), np.float32))
    return path


@pytest.fixture
def calls(monkeypatch):
    """Replaces compile and load by ones that record how they are called, and returns the record."""
    record = {}

    class Recorded:
        report = "the report"
        signature = SimpleNamespace(keywords=("mask",))

        def save(self, path):
            path.write_bytes(bytes(1000))

        def benchmark(self, *args, **kwargs):
            record["benchmark"] = args, kwargs
            return "the measurement"

        def __call__(self, *args, **kwargs):
            record["args"], record["kwargs"] = args, kwargs
            return record.get("output", args[0] + 1)

    def compile_(exported, target, **options):
        options.pop("progress")("capture")
        record["compile"] = exported, target, options
        return Recorded()

    monkeypatch.setattr(sparsecomp, "compile", compile_, raising=False)

    def tune(exported, target, **options):
        record["tune"] = exported, target, options
        return "the tuning"

    monkeypatch.setattr(sparsecomp, "tune", tune, raising=False)
    monkeypatch.setattr(sparsecomp, "load", lambda path: record.update(load=path) or Recorded(), raising=False)
    return record


def invoke(*words):
    return CliRunner().invoke(cli.app, [str(word) for word in words], env={"COLUMNS": "200", "NO_COLOR": "1"})


def leave(monkeypatch, *words):
    """The exit code of the installed command."""
    monkeypatch.setattr("sys.argv", ["sparsecomp", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return left.value.code


def test_help_names_every_command():
    result = invoke("--help")
    assert result.exit_code == 0
    assert all(name in result.output for name in COMMANDS)


@pytest.mark.parametrize("name", ["compile", "run", "bench", "tune"])
def test_help_teaches_with_an_example(name):
    assert f"sparsecomp {name} resnet" in invoke(name, "--help").output


def test_version():
    assert f"sparsecomp {sparsecomp.__version__} " in invoke("--version").output


def test_targets_are_listed():
    output = invoke("targets").output
    assert all(target.name in output for target in available())


def test_compile_takes_the_model_with_its_inputs_and_saves_beside_it(calls, model):
    result = invoke("compile", model)
    assert result.exit_code == 0, result.output
    exported, target, options = calls["compile"]
    assert target == "native"
    assert torch.equal(exported.example_inputs[0][0], torch.ones(3))
    assert options == {"verify": True, "strict": False, "tune": 0, "dump": None}
    assert model.with_suffix(".spc").stat().st_size == 1000
    assert "the report" in result.output


def test_compile_passes_every_option(calls, model, tmp_path):
    output = tmp_path / "other.spc"
    words = ("-t", "x86-64-v3", "-o", output, "--dump", tmp_path / "dump", "--no-verify", "--tune", 4)
    assert invoke("compile", model, *words).exit_code == 0
    assert calls["compile"][1] == "x86-64-v3"
    assert calls["compile"][-1] == {"verify": False, "strict": False, "tune": 4, "dump": tmp_path / "dump"}
    assert output.exists()


def test_run_passes_arrays_in_the_order_of_the_file_and_saves_the_output(calls, program, inputs, tmp_path):
    result = invoke("run", program, "--input", inputs, "-o", tmp_path / "y.npz")
    assert result.exit_code == 0, result.output
    assert calls["load"] == program
    assert [array.shape for array in calls["args"]] == [(3,), (2, 2)]
    with np.load(tmp_path / "y.npz") as saved:
        np.testing.assert_array_equal(saved["output"], np.ones(3, np.float32))
    assert "output: float32 [3]" in result.output


def test_arrays_go_by_keyword_where_the_program_wants_them_so(calls, program, tmp_path):
    np.savez(tmp_path / "x.npz", mask=np.ones(1), x=np.ones(2))
    assert invoke("run", program, "-i", tmp_path / "x.npz").exit_code == 0
    assert [array.shape for array in calls["args"]] == [(2,)]
    assert calls["kwargs"]["mask"].shape == (1,)


def test_a_single_array_is_an_input(calls, program, tmp_path):
    np.save(tmp_path / "x.npy", np.ones(5))
    assert invoke("run", program, "-i", tmp_path / "x.npy").exit_code == 0
    assert len(calls["args"]) == 1


@dataclass
class Outputs:
    logits: object
    hidden: tuple


@pytest.mark.parametrize(
    ("output", "names"),
    [
        (np.ones(1), ["output"]),
        (torch.ones(1), ["output"]),
        ((np.ones(1), [np.ones(1), np.ones(1)]), ["0", "1.0", "1.1"]),
        ({"a": np.ones(1), "b": {"c": np.ones(1)}}, ["a", "b.c"]),
        (Outputs(np.ones(1), (np.ones(1),)), ["logits", "hidden.0"]),
        (namedtuple("Pair", "x y")(np.ones(1), np.ones(1)), ["0", "1"]),
    ],
)
def test_outputs_are_named_after_their_place(calls, program, inputs, tmp_path, output, names):
    calls["output"] = output
    assert invoke("run", program, "-i", inputs, "-o", tmp_path / "y.npz").exit_code == 0
    with np.load(tmp_path / "y.npz") as saved:
        assert list(saved) == names


def test_tune_passes_every_option(calls, model, tmp_path):
    words = ("-t", "native", "--trials", 8, "--time-limit", 60, "--records", tmp_path / "records.sqlite")
    assert "the tuning" in invoke("tune", model, *words).output
    exported, target, options = calls["tune"]
    assert torch.equal(exported.example_inputs[0][0], torch.ones(3))
    assert target == "native"
    assert options == {"trials": 8, "time_limit": 60.0, "records": tmp_path / "records.sqlite"}
    invoke("tune", model)
    assert calls["tune"][2] == {"trials": 64, "time_limit": None, "records": None}


def test_bench_compiles_a_model_and_uses_its_inputs(calls, model):
    result = invoke("bench", model, "-t", "x86-64-v3")
    assert "the measurement" in result.output
    assert calls["compile"][1] == "x86-64-v3"
    assert torch.equal(calls["benchmark"][1]["shift"], torch.ones(3))


def test_bench_of_a_program_uses_the_given_inputs(calls, program, inputs):
    assert "the measurement" in invoke("bench", program, "-i", inputs).output
    assert len(calls["benchmark"][0]) == 2


def test_compile_run_and_bench_work_together(model, tmp_path):
    program, inputs, output = (tmp_path / name for name in ("affine.spc", "x.npz", "y.npz"))
    np.savez(inputs, np.full(3, 2, np.float32), shift=np.ones(3, np.float32))
    for words in (("compile", model), ("run", program, "-i", inputs, "-o", output), ("bench", program, "-i", inputs)):
        result = invoke(*words)
        assert result.exit_code == 0, result.output
    with np.load(output) as saved:
        np.testing.assert_array_equal(saved["output"], np.full(3, 5, np.float32))


@pytest.mark.parametrize(
    "words",
    [
        ("unknown",),
        ("compile",),
        ("compile", "absent.pt2"),
        ("compile", "."),
        ("run", "absent.spc", "--input", "absent.npz"),
        ("targets", "--unknown"),
        ("tune", "absent.pt2"),
        ("tune", ".", "--trials", "0"),
    ],
)
def test_wrong_usage_leaves_with_2(monkeypatch, words):
    assert leave(monkeypatch, *words) == 2


def test_a_program_without_inputs_is_wrong_usage(monkeypatch, program):
    assert leave(monkeypatch, "run", program) == 2
    assert leave(monkeypatch, "bench", program) == 2


def test_a_missing_output_directory_is_seen_before_compiling(monkeypatch, calls, model, tmp_path):
    assert leave(monkeypatch, "compile", model, "-o", tmp_path / "absent" / "model.spc") == 2
    assert "compile" not in calls


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize(
    "error", [TargetError("no target [red]x[/red]"), InputError("wrong shape"), OSError("disk full")]
)
def test_errors_of_ours_are_one_message_and_leave_with_1(monkeypatch, capsys, model, error):
    monkeypatch.setattr(sparsecomp, "compile", raising(error), raising=False)
    assert leave(monkeypatch, "compile", model) == 1
    printed = capsys.readouterr().err
    assert f"error: {error}" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x05\x06" + bytes(18)], ids=["empty", "text", "foreign zip"])
def test_a_foreign_model_file_is_refused(monkeypatch, capsys, tmp_path, content):
    path = tmp_path / "model.pt2"
    path.write_bytes(content)
    assert leave(monkeypatch, "compile", path) == 1
    assert "model.pt2" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"text"])
def test_a_foreign_input_file_is_refused(monkeypatch, capsys, calls, program, tmp_path, content):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    assert leave(monkeypatch, "run", program, "-i", path) == 1
    assert "x.npz" in capsys.readouterr().err


def test_pickled_inputs_are_refused(monkeypatch, capsys, calls, program, tmp_path):
    np.savez(tmp_path / "x.npz", np.array([{}], dtype=object))
    assert leave(monkeypatch, "run", program, "-i", tmp_path / "x.npz") == 1
    assert "x.npz" in capsys.readouterr().err


def test_demo_prints_to_the_terminal(monkeypatch):
    import sparsecomp.demo

    monkeypatch.setattr(sparsecomp.demo, "run", lambda console: console.print("the demo"))
    assert "the demo" in invoke("demo").output


def test_prune_writes_a_model_with_zeros(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)).eval()
    torch.export.save(torch.export.export(model, (torch.randn(2, 8),)), tmp_path / "m.pt2")
    np.savez(tmp_path / "calib.npz", np.random.default_rng(0).normal(size=(7, 8)).astype("float32"))
    command = ["prune", str(tmp_path / "m.pt2"), "--sparsity", "0.75", "--pattern", "block4x1", "--score", "wanda"]
    files = ["--data", str(tmp_path / "calib.npz"), "-o", str(tmp_path / "p.pt2")]
    result = CliRunner().invoke(cli.app, [*command, *files])
    assert result.exit_code == 0, result.output
    weight = torch.export.load(tmp_path / "p.pt2").state_dict["0.weight"]
    assert int((weight == 0).sum()) == 48
    assert "75.0 % zeros in 1 of 2 weights" in " ".join(result.output.split())
    assert CliRunner().invoke(cli.app, [*command[:2], "--sparsity", "0.5", "--dry-run"]).exit_code == 0
    assert not (tmp_path / "m-pruned.pt2").exists()


def test_prune_refuses_calibration_that_does_not_belong_together(tmp_path):
    torch.export.save(torch.export.export(torch.nn.Linear(3, 3).eval(), (torch.randn(2, 3),)), tmp_path / "m.pt2")
    np.savez(tmp_path / "calib.npz", np.zeros((4, 3), "float32"), np.zeros((5, 3), "float32"))
    wrong = ["prune", str(tmp_path / "m.pt2"), "--sparsity", "0.5", "--data", str(tmp_path / "calib.npz")]
    assert isinstance(CliRunner().invoke(cli.app, wrong).exception, InputError)

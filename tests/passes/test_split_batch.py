"""A large batch is computed in parts that fit in the cache, with the same results."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparsecomp
from sparsecomp.errors import InputError
from sparsecomp.inspect.page_data import page_data, summary
from sparsecomp.passes import PIPELINE, SplitBatch, pipeline, run
from sparsecomp.targets import detect
from tests.graphs import assert_close, net, operators, program, rewrite, tensor

IMAGE = 3 * 8 * 8 * 4  # bytes


def convolution(batch, function=lambda n, x: n.conv(x), **options):
    """Reads and writes two images' worth a sample."""
    return program(function, tensor(batch, 3, 8, 8), conv=nn.Conv2d(3, 3, 3, padding=1), **options)


def parts(batch, room, **options):
    made = convolution(batch, **options)
    rewrite(made, SplitBatch(room))
    return made.parts.count


@pytest.mark.parametrize(
    ("batch", "fits", "count"),
    [(8, 8, 1), (8, 7, 2), (8, 4, 2), (8, 3, 4), (8, 1, 8), (6, 4, 2), (7, 7, 1), (7, 6, 7), (8, 0.5, 8)],
)
def test_parts_divide_the_batch_and_fit(batch, fits, count):
    assert parts(batch, int(fits * 2 * IMAGE)) == count


def test_parts_are_not_tiny():
    assert parts(17, 16 * 2 * IMAGE) == 1  # a prime number: parts would be of one image
    assert parts(17, 8 * 2 * IMAGE) == 17


def test_sizes_that_vary_are_left_alone():
    made = convolution(8, dynamic=({0: torch.export.Dim("batch", max=64)},))
    assert not SplitBatch(1).apply(made)


def test_samples_that_meet_are_left_alone():
    assert parts(8, 1, function=lambda n, x: n.conv(x) - x.mean(0)) == 1


def test_sizes_in_the_graph_and_tensors_for_the_whole_batch_narrow():
    made = program(
        lambda n, x, scale: F.relu(n.conv(x) * scale + n.bias).reshape(8, 3, 64).transpose(1, 2),
        tensor(8, 3, 8, 8),
        tensor(3, 1, 1),
        conv=nn.Conv2d(3, 3, 3, padding=1),
        bias=nn.Parameter(torch.zeros(8, 3, 1, 1)),
    )
    made.weights()["bias"].fill_(0.5)
    rewrite(made, SplitBatch(4 * IMAGE))
    assert (made.parts.count, made.parts.inputs) == (4, (0,))
    assert made.weights()["bias"].shape == (2, 3, 1, 1)
    assert [tuple(node.meta["val"].shape) for node in made.placeholders()] == [(2, 3, 8, 8), (3, 1, 1)]
    assert next(made.calls(torch.ops.aten.view.default)).args[1] == [2, 3, 64]
    assert_close(made.copy()(*made.args), made(*made.args))


def test_the_room_is_that_of_the_target():
    target = detect()
    split = next(each for each in pipeline(target) if isinstance(each, SplitBatch))
    assert 0 < split.room <= target.l3_bytes / 2
    assert [each.name for each in pipeline(target)] == [each.name for each in PIPELINE]


def test_it_runs_before_fusion():
    done = run((SplitBatch(1), *PIPELINE), convolution(4, function=lambda n, x: F.relu(n.conv(x))))
    assert (operators(done), done.parts.count) == (["sparsecomp.conv.default"], 4)
    assert all(record.relative_error is None or record.relative_error < 1e-6 for record in done.log)


@pytest.fixture(scope="module")
def compiled():
    """Two inputs of eight samples each, one for all; two results, in parts of two."""
    options = {"conv": nn.Conv2d(3, 3, 3, padding=1), "head": nn.Linear(192, 4)}
    model = net(lambda n, x, scale, y: {"map": n.conv(x * scale), "scores": n.head(x.flatten(1) + y)}, **options)
    args = (tensor(8, 3, 8, 8), tensor(1), tensor(8, 192))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sparsecomp.passes.MOST_ROOM", 6 * IMAGE)
        program = sparsecomp.compile(model, "native", args)
    return model, program, args


def test_a_compiled_program_takes_the_whole_batch(compiled):
    model, program, args = compiled
    assert program.report.parts == 4
    assert "float32[8, 3, 8, 8]" in str(program.report)
    assert "in 4 parts" in str(program.report)
    with torch.no_grad():
        assert_close(program(*args), model(*args))
        other = tuple(x.flip(0) for x in args)
        assert_close(program(*other), model(*other))
    with pytest.raises(InputError, match="size 2 on axis 0, expected 8"):
        program(*(x[:2] for x in args))


def test_it_is_saved_and_loaded(compiled, tmp_path):
    model, program, args = compiled
    program.save(tmp_path / "model.spc")
    loaded = sparsecomp.load(tmp_path / "model.spc")
    results = loaded(*(x.numpy() for x in args))
    assert loaded.report.parts == 4
    with torch.no_grad():
        assert_close({name: torch.from_numpy(result) for name, result in results.items()}, model(*args))


def test_a_profile_has_the_time_of_all_parts(compiled):
    _, program, args = compiled
    profile = program.profile(*args, runs=3)
    assert [kernel.function for kernel in profile.kernels] == [call["function"] for call in program.report.calls]
    assert all(kernel.seconds > kernel.took / 2 > 0 for kernel in profile.kernels)


def test_the_report_speaks_of_all_parts(compiled):
    _, program, _ = compiled
    report = program.report.to_dict()
    assert "the batch in 4 parts" in summary(report)["about"]
    row = next(row for row in report["layers"] if row["layer"] == "head")
    decision = next(each for each in report["decisions"] if each["node"] in row["nodes"])
    assert row["predicted"] == pytest.approx(4 * decision["candidates"][0]["predicted"])
    shown = page_data(report)["decisions"][report["decisions"].index(decision)]["candidates"]
    assert [each["predicted"] for each in shown] == [4 * each["predicted"] for each in decision["candidates"]]
    assert {each["measured"] for each in shown} == {None}

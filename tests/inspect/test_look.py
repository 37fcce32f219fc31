"""Reports of whatever a model comes as."""

import pytest
import torch
from torch import nn

import sparsecomp
from sparsecomp.errors import ArtifactError, CaptureError, SparsecompError
from tests.graphs import net, tensor
from tests.inspect.models import compiled, inputs, model


@pytest.fixture(scope="module")
def plain():
    return sparsecomp.inspect(model(), inputs())


def test_a_model_shows_its_structure_and_what_would_be_done(plain):
    rows = {row["layer"]: row for row in plain.layers}
    assert rows["conv"]["pattern"] == "2 zero outputs"
    assert rows["body"]["inputs_removed"] == 2
    assert rows["hidden"]["kernel"] == "column"
    assert [view["stage"] for view in plain.stages] == ["captured", "propagated", "removed", "fused"]


def test_every_target_has_a_prediction(plain):
    gains = {gain["target"]: gain for gain in plain.gains}
    assert list(gains) == [target.name for target in sparsecomp.targets()]
    assert all(gain["speedup"] == pytest.approx(gain["dense"] / gain["predicted"]) for gain in gains.values())
    assert all(gain["speedup"] > 1 for gain in gains.values())


def test_a_dense_model_gains_nothing():
    found = sparsecomp.inspect(net(lambda net, x: net.head(x), head=nn.Linear(64, 64)), (tensor(8, 64),))
    assert [row["pattern"] for row in found.layers] == ["dense"]
    assert all(gain["speedup"] == pytest.approx(1) for gain in found.gains)


def test_a_compiled_program_has_its_report():
    assert sparsecomp.inspect(compiled()) is compiled().report


def test_files(tmp_path, plain):
    compiled().save(tmp_path / "model.spc")
    assert sparsecomp.inspect(tmp_path / "model.spc").to_markdown() == compiled().report.to_markdown()
    torch.export.save(torch.export.export(model(), inputs()), tmp_path / "model.pt2")
    found = sparsecomp.inspect(str(tmp_path / "model.pt2"))
    assert [row["pattern"] for row in found.layers] == [row["pattern"] for row in plain.layers]


def test_the_report_adds_little_to_a_file(tmp_path):
    import zipfile

    compiled().save(tmp_path / "model.spc")
    with zipfile.ZipFile(tmp_path / "model.spc") as archive:
        assert archive.getinfo("manifest.json").compress_size < 60_000


def test_the_model_is_not_changed():
    made = model()
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    sparsecomp.inspect(made, inputs())
    assert all(torch.equal(before[name], tensor) for name, tensor in made.state_dict().items())


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ("missing.spc", ArtifactError, "there is no file"),
        ("missing.pt2", CaptureError, "cannot be read"),
        (3, SparsecompError, "int is no model"),
    ],
)
def test_what_cannot_be_read_is_an_error(given, error, words):
    with pytest.raises(error, match=words):
        sparsecomp.inspect(given)


def test_a_damaged_file_is_an_error(tmp_path):
    (tmp_path / "a.spc").write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match="damaged or no sparsecomp program"):
        sparsecomp.inspect(tmp_path / "a.spc")

"""Saved programs: whole or not at all, and refused with a reason where they cannot run."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sparsecomp
from sparsecomp import artifact
from sparsecomp.errors import ArtifactError
from tests.graphs import assert_close, net, seed, tensor

ROOT = Path(__file__).parent.parent


@dataclass
class Answer:
    logits: Tensor
    hidden: list[Tensor]


torch.export.register_dataclass(Answer, serialized_type_name="tests.test_artifact.Answer")


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 4)
        self.register_buffer("mask", torch.tensor([True, False, True, True]))
        self.register_buffer("shift", torch.tensor([1, 2, 3, 4]))

    def forward(self, x: Tensor, *, y: Tensor) -> Answer:
        hidden = (self.head(x) + y).relu()
        return Answer(torch.where(self.mask, hidden, -hidden), [hidden, (hidden > 0) & self.mask, self.shift + 1, x])


X, Y = tensor(3, 6), tensor(4)


@pytest.fixture(scope="module")
def compiled():
    model = Model().eval()
    seed(model)
    return sparsecomp.compile(
        model, "native", (X,), {"y": Y}, dynamic_shapes={"x": {0: torch.export.Dim("b")}, "y": None}
    )


@pytest.fixture(scope="module")
def saved(compiled, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model.spc"
    compiled.save(path)
    return path


def test_a_loaded_program_computes_the_same(compiled, saved):
    loaded, expected = sparsecomp.load(saved), compiled(X, y=Y)
    result = loaded(X, y=Y)
    assert_close(result.logits, expected.logits, 0)
    assert_close(result["hidden"], expected.hidden, 0)
    assert loaded(tensor(7, 6), y=Y).logits.shape == (7, 4)


def test_a_loaded_program_knows_what_it_is(compiled, saved):
    loaded = sparsecomp.load(str(saved))
    assert loaded.signature == compiled.signature
    assert loaded.target == compiled.target
    assert json.loads(json.dumps(loaded.report.to_dict())) == json.loads(json.dumps(compiled.report.to_dict()))
    assert loaded.report.relative_error is not None
    assert loaded.report.passes[0]["name"] == "canonicalize"


def test_a_loaded_program_can_be_saved_again(saved, tmp_path):
    sparsecomp.load(saved).save(tmp_path / "again.spc")
    assert_close(sparsecomp.load(tmp_path / "again.spc")(X, y=Y).logits, sparsecomp.load(saved)(X, y=Y).logits, 0)


RUN = """
import sys
{before}
import numpy as np
import sparsecomp
given = np.load(sys.argv[2])
answer = sparsecomp.load(sys.argv[1])(given["x"], y=given["y"])
assert sys.modules.get("torch") is None, "torch was imported"
assert type(answer.logits) is np.ndarray
np.savez(sys.argv[3], answer.logits, *answer.hidden)
"""


@pytest.mark.parametrize("before", ["sys.modules['torch'] = None", ""], ids=["without torch", "torch stays out"])
def test_a_program_runs_in_a_process_without_torch_and_the_models_class(compiled, saved, tmp_path, before):
    np.savez(tmp_path / "x.npz", x=X.numpy(), y=Y.numpy())
    words = [saved, tmp_path / "x.npz", tmp_path / "out.npz"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", RUN.format(before=before), *words], env=environment, cwd=tmp_path, check=True)
    expected = compiled(X, y=Y)
    with np.load(tmp_path / "out.npz") as found:
        for name, reference in zip(found, [expected.logits, *expected.hidden], strict=True):
            assert found[name].dtype == reference.numpy().dtype
            assert np.array_equal(found[name], reference.numpy())


def rewritten(saved, path, change=lambda manifest: manifest, drop="", garble=""):
    """A copy of a saved program with another manifest, without a member, or with other bytes for one."""
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(path, "w") as copy:
        for name in source.namelist():
            content = source.read(name)
            if name == "manifest.json":
                content = json.dumps(change(json.loads(content))).encode()
            if name != drop:
                copy.writestr(name, b"garbage" if name == garble else content)
    return path


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(saved, tmp_path, share):
    content = saved.read_bytes()
    path = tmp_path / "cut.spc"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ArtifactError, match=r"cut.spc is damaged or no sparsecomp program .*; save it again"):
        sparsecomp.load(path)


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_a_changed_byte_is_noticed(saved, tmp_path, place):
    content = bytearray(saved.read_bytes())
    content[int(len(content) * place)] ^= 0xFF
    (tmp_path / "flipped.spc").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"flipped.spc is damaged"):
        sparsecomp.load(tmp_path / "flipped.spc")


@pytest.mark.parametrize(
    "content", [b"", bytes(range(256)) * 40, b"PK\x05\x06" + bytes(18)], ids=["empty", "bytes", "empty zip"]
)
def test_a_foreign_file_is_refused(tmp_path, content):
    (tmp_path / "foreign.spc").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"foreign.spc is damaged or no sparsecomp program"):
        sparsecomp.load(tmp_path / "foreign.spc")


def test_a_model_of_torch_is_refused(tmp_path):
    torch.export.save(torch.export.export(net(lambda net, x: x + 1), (X,)), tmp_path / "model.pt2")
    with pytest.raises(ArtifactError, match="no sparsecomp program"):
        sparsecomp.load(tmp_path / "model.pt2")


@pytest.mark.parametrize("name", ["manifest.json", "library.so", "weights.safetensors"])
@pytest.mark.parametrize("fault", ["drop", "garble"])
def test_a_file_with_a_part_missing_or_broken_is_refused(saved, tmp_path, name, fault):
    path = rewritten(saved, tmp_path / "broken.spc", **{fault: name})
    with pytest.raises(ArtifactError, match=r"broken.spc is damaged"):
        sparsecomp.load(path)


def changed(*keys, value):
    """A change of one entry of the manifest."""

    def change(manifest):
        place = manifest
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        return manifest

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("format", value="other"), "its manifest is not ours"),
        (
            changed("version", value=artifact.VERSION + 1),
            rf"has format {artifact.VERSION + 1}, written by .* upgrade it",
        ),
        (changed("version", value="one"), "is damaged"),
        (
            changed("target", "triple", value="aarch64-linux-gnu"),
            "made for another machine: it is for aarch64 .*; compile for this one",
        ),
        (changed("target", "triple", value="riscv64-linux-gnu"), "made for another machine: it is for riscv64"),
        (changed("target", "surprise", value=1), "is damaged"),
        (changed("signature", value={}), "is damaged"),
        (changed("weights", value=[["absent", "float32"]]), "is damaged"),
        (lambda manifest: [1, 2], "is damaged"),
    ],
    ids=lambda value: None,
)
def test_a_manifest_that_does_not_fit_is_refused(saved, tmp_path, change, message):
    path = rewritten(saved, tmp_path / "other.spc", change)
    with pytest.raises(ArtifactError, match=message):
        sparsecomp.load(path)


def test_a_newer_format_is_refused_before_anything_else_is_read(saved, tmp_path):
    newer = changed("version", value=99)
    path = rewritten(saved, tmp_path / "newer.spc", lambda manifest: newer({**manifest, "target": "of another form"}))
    with pytest.raises(ArtifactError, match="format 99"):
        sparsecomp.load(path)


def test_the_same_manifest_is_taken(saved, tmp_path):
    """Otherwise the tests above could pass because every rewritten file is refused."""
    sparsecomp.load(rewritten(saved, tmp_path / "same.spc"))(X, y=Y)


@pytest.mark.parametrize(
    ("name", "message"), [("absent.spc", "there is no file"), (".", "cannot be read: Is a directory")]
)
def test_what_is_no_file_is_refused(tmp_path, name, message):
    with pytest.raises(ArtifactError, match=message):
        sparsecomp.load(tmp_path / name)


@contextmanager
def largest_file(nbytes):
    """No file of this process, or of those that it starts, may grow beyond ``nbytes``: writing more fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def large():
    """A program whose weights are larger than its code."""
    model = net(lambda net, x: x + net.table, table=nn.Parameter(torch.empty(1024, 1024)))
    return sparsecomp.compile(model, "native", (tensor(1024, 1024),), verify=False)


@pytest.mark.parametrize("existing", [None, b"the file before"])
def test_a_full_disk_leaves_what_was_there(large, tmp_path, existing):
    path = tmp_path / "model.spc"
    if existing is not None:
        path.write_bytes(existing)
    with (
        largest_file(2_000_000),
        pytest.raises(ArtifactError, match=r"model.spc could not be written: .*; nothing was left"),
    ):
        large.save(path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == (
        {} if existing is None else {path.name: existing}
    )
    large.save(path)
    sparsecomp.load(path)


def test_an_interrupted_save_leaves_nothing(compiled, tmp_path, monkeypatch):
    def interrupt(arrays):
        raise KeyboardInterrupt

    monkeypatch.setattr(artifact.safetensors.numpy, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        compiled.save(tmp_path / "model.spc")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_whole(compiled, saved, tmp_path):
    path = tmp_path / "model.spc"
    path.write_bytes(b"the file before")
    compiled.save(path)
    assert_close(sparsecomp.load(path)(X, y=Y).logits, compiled(X, y=Y).logits, 0)
    assert [file.name for file in tmp_path.iterdir()] == ["model.spc"]


def test_the_file_has_the_permissions_of_any_new_file(saved, tmp_path):
    (tmp_path / "new").write_text("")
    assert saved.stat().st_mode == (tmp_path / "new").stat().st_mode


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent/model.spc", "there is no directory .*absent; create it first"),
        (".", "is a directory; name a file in it"),
        ("n" * 300, "could not be written: .*File name too long"),
    ],
)
def test_a_place_that_cannot_be_written_is_named(compiled, tmp_path, name, message):
    with pytest.raises(ArtifactError, match=message):
        compiled.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_may_not_be_written(compiled, tmp_path, monkeypatch):
    """Tests may run as root, who may write anywhere; so the refusal is made here."""

    def refuse(dir=None, prefix=None):
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    with pytest.raises(ArtifactError, match=r"could not be written: .*Permission denied"):
        compiled.save(tmp_path / "model.spc")


WITHOUT_COMPILER = """
import sys
import torch
import sparsecomp
from tests.graphs import net, tensor
model = net(lambda net, x: net.head(x).relu(), head=torch.nn.Linear(4, 4))
compiled = sparsecomp.compile(model, "native", (tensor(2, 4),))
compiled(tensor(2, 4))
try:
    compiled.save(sys.argv[1])
except sparsecomp.ArtifactError as error:
    print(error)
"""


def test_without_a_c_compiler_all_but_save_works_and_save_says_what_to_do(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name not in ("CC", "CXX")}
    environment |= {"PATH": str(tmp_path), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", WITHOUT_COMPILER, tmp_path / "model.spc"]
    done = subprocess.run(words, env=environment, cwd=ROOT, check=True, capture_output=True, text=True)
    assert "save: linking needs a C compiler" in done.stdout
    assert "install gcc or clang, or name one in the environment variable CXX" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_compiler_that_fails_is_named(compiled, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "/bin/false")
    with pytest.raises(ArtifactError, match="linking needs a C compiler, and /bin/false"):
        compiled.save(tmp_path / "model.spc")
    assert list(tmp_path.iterdir()) == []

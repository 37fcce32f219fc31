"""What users get wrong: one table. Each message says what was expected, and the way out where there is one."""

import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim

import sparsecomp
from sparsecomp.errors import (
    ArtifactError,
    CaptureError,
    InputError,
    LoweringError,
    SparsecompError,
    TargetError,
    UnsupportedOperatorError,
)
from sparsecomp.targets import detect
from tests.graphs import net, tensor


class Model(nn.Module):
    """A small model with an input by position and one by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor, *, mask: Tensor) -> Tensor:
        return self.head(x) * mask


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.steps += 1
        return x + self.steps


@torch.library.custom_op("tests::twist", mutates_args=())
def twist(x: Tensor) -> tuple[Tensor, Tensor]:
    """An operator that nobody else knows, and that gives two tensors."""
    return x.flip(0), x.clone()


@twist.register_fake
def _(x: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(x)


class Unsupported(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y, _ = torch.ops.tests.twist(x)
        return torch.special.bessel_j0(y)


def branching(net: nn.Module, x: Tensor) -> Tensor:
    return x if x.sum() > 0 else -x


def training_dropout(net: nn.Module, x: Tensor) -> Tensor:
    return F.dropout(x, 0.5, training=True)


def shape_of_data(net: nn.Module, x: Tensor) -> Tensor:
    return x[x > 0]


X, MASK = tensor(2, 6), tensor(4)
RELU = net(lambda net, x: x.relu())


@dataclass
class Place:
    """What a bad call may use: a compiled program, a saved one, and an empty directory."""

    compiled: Any
    saved: Path
    empty: Path


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp("bad_input")
    compiled = sparsecomp.compile(Model().eval(), "native", (X,), {"mask": MASK})
    compiled.save(directory / "model.spc")
    return compiled, directory / "model.spc"


@pytest.fixture
def place(ready: Any, tmp_path: Path) -> Place:
    return Place(*ready, tmp_path)


def compile_(model: Any = RELU, args: Any = (X,), target: Any = "native", **options: Any) -> Any:
    return sparsecomp.compile(model, target, args, **options)


def exported(model: nn.Module, *inputs: Any) -> Any:
    return torch.export.export(model, inputs)


def without_inputs() -> Any:
    program = exported(RELU, X)
    program.example_inputs = None
    return program


def call(*args: Any, **kwargs: Any) -> Any:
    return lambda place: place.compiled(*args, **kwargs)


def save_on_a_full_disk(place: Place) -> None:
    large = net(lambda net, x: x + net.table, table=nn.Parameter(torch.empty(1024, 1024)))
    compiled = compile_(large, (tensor(1024, 1024),), verify=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    try:
        compiled.save(place.empty / "model.spc")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert list(place.empty.iterdir()) == []


def load_with(content: bytes) -> Any:
    def load(place: Place) -> None:
        (place.empty / "model.spc").write_bytes(content)
        sparsecomp.load(place.empty / "model.spc")

    return load


def load_half(place: Place) -> None:
    content = place.saved.read_bytes()
    load_with(content[: len(content) // 2])(place)


OTHER = next(target for target in sparsecomp.targets() if target.arch != detect().arch)
CASES: list[tuple[str, Any, type[SparsecompError], str]] = [
    # compile: the model
    ("no module", lambda p: compile_(lambda x: x), CaptureError, "expected a torch.nn.Module or a torch.export.ExportedProgram, got function"),
    ("a class", lambda p: compile_(Model), CaptureError, "expected a torch.nn.Module or .* got type"),
    ("a path", lambda p: compile_("model.pt2"), CaptureError, "expected a torch.nn.Module or .* got str"),
    ("no module, no inputs", lambda p: compile_(lambda x: x, None), CaptureError, "expected a torch.nn.Module or"),
    ("training mode", lambda p: compile_(nn.Dropout()), CaptureError, r"in training mode; call model.eval\(\) first"),
    ("training mode, no inputs", lambda p: compile_(nn.Dropout(), None), CaptureError, r"in training mode; call model.eval\(\) first"),
    ("exported in training mode", lambda p: compile_(exported(nn.Dropout(), X), None), CaptureError, r"dropout.* is in training mode; call model.eval\(\) before exporting"),
    ("batch norm exported in training mode", lambda p: compile_(exported(nn.BatchNorm1d(6), X), None), CaptureError, r"batch_norm.* is in training mode; call model.eval\(\) before exporting"),
    ("dropout that is always on", lambda p: compile_(net(training_dropout)), CaptureError, "dropout.* is in training mode"),
    ("own state changed", lambda p: compile_(Counter().eval()), CaptureError, r"changes its own state or inputs \(steps\); return the new value instead"),
    ("input changed", lambda p: compile_(net(lambda net, x: x.add_(1))), CaptureError, "changes its own state or inputs .*; return the new value instead"),
    ("control flow on data", lambda p: compile_(net(branching)), CaptureError, r"(?s)could not trace Net: .*branch"),
    ("shape that depends on data", lambda p: compile_(net(shape_of_data)), SparsecompError, r"index|nonzero"),
    ("random", lambda p: compile_(net(lambda net, x: x + torch.rand_like(x))), CaptureError, "is it random"),
    ("exported without inputs", lambda p: compile_(without_inputs(), None), CaptureError, "has no example inputs; export it again"),
    ("operators without lowering", lambda p: compile_(Unsupported().eval()), UnsupportedOperatorError, r"(?s)no lowering for 2 operator.*tests.twist.default in node twist.*test_bad_input.py:\d+, y, _ = torch.ops.tests.twist\(x\).*aten.special_bessel_j0.default in node special_bessel_j0.*return torch.special.bessel_j0\(y\).*rewrite them with supported operators"),
    # compile: the example inputs
    ("list of no tensors", lambda p: compile_(RELU, [1.0, 2.0]), CaptureError, r"hold no tensor; pass args=\(tensor, ...\)"),
    ("empty inputs", lambda p: compile_(RELU, ()), CaptureError, r"hold no tensor; pass args=\(tensor, ...\)"),
    ("numpy example inputs", lambda p: compile_(RELU, (X.numpy(),)), CaptureError, "hold no tensor.*numpy|numpy.*torch.from_numpy"),
    ("one number", lambda p: compile_(RELU, 5), CaptureError, "args must be a tuple .* got int"),
    ("keyword inputs in a list", lambda p: compile_(RELU, (X,), kwargs=[MASK]), CaptureError, "kwargs must be a dict of keyword inputs, got list"),
    ("too many example inputs", lambda p: compile_(Model().eval(), (X, MASK)), CaptureError, "could not trace Model: .*(argument|positional)"),
    ("example inputs of a wrong size", lambda p: compile_(nn.Linear(6, 4).eval(), (tensor(2, 5),)), CaptureError, "(?s)could not trace Linear: .*(2, 5|2x5)"),
    ("example inputs on another device", lambda p: compile_(RELU, (torch.zeros(2, device="meta"),)), CaptureError, r"must be on the cpu, got meta; use .cpu\(\)"),
    ("inputs for an exported program", lambda p: compile_(exported(RELU, X)), CaptureError, "brings its own example inputs .*leave args"),
    ("keywords for an exported program", lambda p: compile_(exported(RELU, X), None, kwargs={"x": X}), CaptureError, "brings its own example inputs .*leave args, kwargs"),
    ("dynamic shapes of the wrong form", lambda p: compile_(dynamic_shapes=5), CaptureError, "could not trace Net \\(with dynamic_shapes=5\\)"),
    ("dynamic shapes of no input", lambda p: compile_(nn.ReLU().eval(), dynamic_shapes={"absent": {0: Dim("b")}}), CaptureError, "could not trace ReLU \\(with dynamic_shapes=.*absent"),
    ("a fixed size called dynamic", lambda p: compile_(nn.Linear(6, 4).eval(), dynamic_shapes=({1: Dim("n")},)), CaptureError, "(?s)could not trace Linear \\(with dynamic_shapes=.*[Cc]onstraints violated"),
    # compile: the rest
    ("unknown target", lambda p: compile_(target="cray-1"), TargetError, "no target 'cray-1'.*native.*x86-64-v3.*riscv64"),
    ("target of a wrong type", lambda p: compile_(target=64), TargetError, "no target 64.*native"),
    ("unknown target, no inputs", lambda p: compile_(args=None, target="cray-1"), TargetError, "no target 'cray-1'"),
    ("dump into a file", lambda p: compile_(dump=p.saved), SparsecompError, "dump: cannot write to .*; name another directory"),
    # calls of a compiled program
    ("no inputs", call(), InputError, r"expected 2 inputs \(x: float32\[2, 6\], mask: float32\[4\]\), got 0 by position and none by keyword"),
    ("too few inputs", call(X), InputError, "expected 2 inputs .* got 1 by position and none by keyword"),
    ("too many inputs", call(X, MASK, X), InputError, "expected 2 inputs .* got 3 by position"),
    ("unknown keyword", call(X, masks=MASK), InputError, r"unknown: \['masks'\]"),
    ("twice the same input", call(X, MASK, mask=MASK), InputError, "expected 2 inputs .* got 2 by position"),
    ("wrong size", call(tensor(2, 5), mask=MASK), InputError, r"x has size 5 on axis 1, expected 6 \(x: float32\[2, 6\]\)"),
    ("wrong batch", call(tensor(3, 6), mask=MASK), InputError, "x has size 3 on axis 0, expected 2"),
    ("wrong rank", call(tensor(6), mask=MASK), InputError, r"x has rank 1 \(6,\), expected x: float32\[2, 6\]"),
    ("wrong dtype", call(X.double(), mask=MASK), InputError, "x has dtype float64, expected float32; convert it first"),
    ("wrong dtype, numpy", call(X.numpy(), mask=np.ones(4)), InputError, "mask has dtype float64, expected float32"),
    ("a list", call(X.tolist(), mask=MASK), InputError, "x must be a torch tensor or numpy array .* got list"),
    ("a number", call(X, mask=1.0), InputError, "mask must be a torch tensor or numpy array .* got float"),
    ("nothing", call(None, mask=MASK), InputError, "x must be a torch tensor or numpy array .* got NoneType"),
    ("another device", call(X.to("meta"), mask=MASK), InputError, r"x is on meta, expected the cpu; use .cpu\(\)"),
    ("sparse tensor", call(X.to_sparse(), mask=MASK), InputError, "cannot be read .*; pass a dense tensor or array"),
    ("program for another machine", lambda p: compile_(target=OTHER)(X), TargetError, rf"cannot run here: it is for {OTHER.arch}.*; save\(\) it"),
    # files
    ("full disk", save_on_a_full_disk, ArtifactError, "could not be written: .*; nothing was left there"),
    ("save into nowhere", lambda p: p.compiled.save(p.empty / "absent" / "m.spc"), ArtifactError, "there is no directory .*; create it first"),
    ("save as a directory", lambda p: p.compiled.save(p.empty), ArtifactError, "is a directory; name a file in it"),
    ("load nothing", lambda p: sparsecomp.load(p.empty / "absent.spc"), ArtifactError, "there is no file .*absent.spc"),
    ("load a directory", lambda p: sparsecomp.load(p.empty), ArtifactError, "cannot be read: Is a directory"),
    ("load an empty file", load_with(b""), ArtifactError, "damaged or no sparsecomp program .*save it again with Compiled.save"),
    ("load text", load_with(b"weights"), ArtifactError, "damaged or no sparsecomp program"),
    ("load half a file", load_half, ArtifactError, "damaged or no sparsecomp program"),
    ("verify what was loaded", lambda p: sparsecomp.load(p.saved).verify(X, mask=MASK), SparsecompError, "verify needs the model.*; verify before saving"),
]  # fmt: skip


@pytest.mark.parametrize(("bad", "error", "message"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_a_bad_call_is_answered_with_what_was_expected(
    place: Place, bad: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        bad(place)


def test_every_error_is_one_of_ours() -> None:
    assert all(issubclass(error, SparsecompError) for _, _, error, _ in CASES)
    assert issubclass(UnsupportedOperatorError, LoweringError)


def test_after_bad_calls_the_program_still_works(place: Place) -> None:
    with pytest.raises(InputError):
        place.compiled(X)
    assert place.compiled(X, mask=MASK).shape == (2, 4)

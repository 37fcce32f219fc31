"""The stages of a compile: verified, timed, reported."""

import json

import pytest
import torch
from torch import nn

import sparsecomp
import sparsecomp.compilation
from sparsecomp.compilation import Compilation
from sparsecomp.errors import CaptureError, LoweringError, PassError, VerificationError
from sparsecomp.passes import run
from sparsecomp.report import Report
from sparsecomp.targets import detect
from tests.graphs import net, tensor

STAGES = [
    "capture",
    "passes",
    "choose kernels",
    "pack weights",
    "import",
    "schedule",
    "build",
    "inspect",
    "link",
    "verify",
]


def small():
    return net(lambda net, x: net.head(x).relu(), head=nn.Linear(4, 3))


def test_every_stage_is_announced_and_timed():
    begun = []
    work = Compilation(small(), detect(), progress=begun.append)
    report = work.run((tensor(2, 4),), None).report
    assert begun == list(report.seconds) == STAGES
    assert all(seconds > 0 for seconds in report.seconds.values())


def test_the_report_tells_what_was_done():
    report = sparsecomp.compile(small(), "native", (tensor(2, 4),)).report
    assert (report.model, report.target) == ("Net", "native")
    assert report.signature == "(inputs_0: float32[2, 4])"
    assert "fuse-epilogues" in [entry["name"] for entry in report.passes if entry["changed"]]
    assert 0 <= report.relative_error < 1e-5
    assert report.weight_bytes >= (4 * 3 + 3) * 4
    (decision,) = report.decisions
    assert decision["layer"] == "head"
    assert report.kernels


def test_the_report_tells_what_was_removed_and_what_stays():
    model = net(lambda net, x: net.head(net.body(x).relu()), body=nn.Linear(4, 6), head=nn.Linear(6, 3))
    with torch.no_grad():
        for dead in (model.body.weight[:2], model.body.bias[:2], model.head.weight[0]):
            dead.zero_()
    report = sparsecomp.compile(model, "native", (tensor(2, 4),)).report
    (removed,) = report.removed
    assert (removed["layer"], removed["slices"], removed["removed"]) == ("body", 6, 2)
    (staying,) = report.staying
    assert (staying["layer"], staying["slices"], staying["idle"]) == ("head", 3, 1)
    assert staying["reasons"] == [["output returns it", 1]]
    assert Report.from_dict(json.loads(json.dumps(report.to_dict()))).staying == report.staying


def test_without_verification_nothing_is_compared():
    work = Compilation(small(), detect(), verify=False)
    report = work.run((tensor(2, 4),), None).report
    assert report.relative_error is None
    assert "verify" not in report.seconds
    assert all(entry["relative_error"] is None for entry in report.passes)


class Wrong:
    """A pass that makes every relu a tanh."""

    name = "wrong"

    def apply(self, program):
        for node in program.calls(torch.ops.aten.relu.default):
            node.target = torch.ops.aten.tanh.default
        return True


def test_a_wrong_pass_is_an_error(monkeypatch):
    monkeypatch.setattr(sparsecomp.compilation, "pipeline", lambda _: (Wrong(),))
    with pytest.raises(PassError, match=r"pass wrong .* changed what the program computes"):
        sparsecomp.compile(small(), "native", (tensor(2, 4),))


def test_wrong_machine_code_is_an_error(monkeypatch):
    """The passes are not verified one by one here, so that only the last comparison can see it."""

    def unverified(passes, program, observe, verify):
        Wrong().apply(program)
        return run(passes, program, observe, False)

    monkeypatch.setattr(sparsecomp.compilation, "run", unverified)
    with pytest.raises(VerificationError, match="the compiled program differs from the model by a relative error of"):
        sparsecomp.compile(small(), "native", (tensor(2, 4),))
    assert sparsecomp.compile(small(), "native", (tensor(2, 4),), verify=False)(tensor(2, 4)).shape == (2, 3)


def noisy(net, x):
    return x + torch.rand_like(x)


@pytest.mark.parametrize("exported", [False, True])
def test_a_random_model_is_refused_and_the_message_asks_whether_it_is(exported):
    model, x = net(noisy), tensor(2, 4)
    with pytest.raises(CaptureError, match="is it random"):
        sparsecomp.compile(torch.export.export(model, (x,)), "native") if exported else sparsecomp.compile(
            model, "native", (x,)
        )


def test_outputs_that_are_not_finite_are_compared_too():
    model, x, zeros = net(lambda net, x, y: (x / y, y.log(), (-x.abs()).log())), tensor(2, 4), torch.zeros(2, 4)
    infinite, negative, undefined = sparsecomp.compile(model, "native", (x, zeros))(x, zeros)
    assert torch.isinf(infinite).all()
    assert torch.isneginf(negative).all()
    assert torch.isnan(undefined).all()


def test_an_error_of_tvm_is_one_of_ours_and_names_the_stage(monkeypatch):
    def fail(module, target):
        raise RuntimeError("the reason")

    monkeypatch.setattr(sparsecomp.compilation, "build", fail)
    with pytest.raises(LoweringError, match=r"build: the reason; .* please report it with dump=DIR"):
        sparsecomp.compile(small(), "native", (tensor(2, 4),))

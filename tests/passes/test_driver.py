"""The driver verifies, names what failed, records and reports."""

from dataclasses import dataclass

import pytest
import torch

from sparsecomp.errors import PassError
from sparsecomp.passes import PIPELINE, Canonicalize, EliminateDead, run
from tests.graphs import assert_close, net, operators, program, tensor

aten = torch.ops.aten


@dataclass(frozen=True)
class Replace:
    """Replaces every relu by another operator."""

    target: object
    name: str = "replace-relu"

    def apply(self, program):
        nodes = list(program.calls(aten.relu.default))
        for node in nodes:
            node.target = self.target
        return bool(nodes)


@dataclass(frozen=True)
class Fail:
    name: str = "fail"

    def apply(self, program):
        raise ValueError(f"the reason, at {len(program.graph.nodes)} nodes")


@dataclass(frozen=True)
class Unordered:
    """Leaves a graph in which a node is read before it is computed."""

    name: str = "unordered"

    def apply(self, program):
        first, second = program.calls()
        second.append(first)
        return True


@dataclass(frozen=True)
class Lie:
    """Changes the function and says that it did nothing."""

    name: str = "lie"

    def apply(self, program):
        Replace(aten.tanh.default).apply(program)
        return False


@pytest.fixture
def captured():
    return program(lambda net, x: x.relu().clone(), tensor(2, 4))


def test_a_wrong_pass_is_caught_and_named(captured):
    with pytest.raises(PassError, match=r"pass replace-relu \(after canonicalize\) changed what .* relative error \d"):
        run([Canonicalize(), Replace(aten.tanh.default), EliminateDead()], captured)


def test_without_verification_a_wrong_pass_goes_through(captured):
    run([Canonicalize(), Replace(aten.tanh.default)], captured, verify=False)
    assert operators(captured) == ["tanh.default"]
    assert [record.relative_error for record in captured.log] == [None, None]


def test_a_pass_that_makes_nan_is_caught(captured):
    with pytest.raises(PassError, match="replace-relu"):
        run([Replace(aten.log.default)], captured)


def test_a_pass_that_changes_the_second_output_alone_is_caught():
    captured = program(lambda net, x: (x.tanh(), x.relu()), tensor(2, 4))
    with pytest.raises(PassError, match="replace-relu"):
        run([Replace(aten.log.default)], captured)


def test_a_pass_that_raises_is_named_with_what_ran_before(captured):
    with pytest.raises(
        PassError, match=r"pass fail failed \(after canonicalize, eliminate-dead\): the reason"
    ) as caught:
        run([Canonicalize(), EliminateDead(), Fail()], captured)
    assert isinstance(caught.value.__cause__, ValueError)


def test_the_first_pass_is_called_the_first(captured):
    with pytest.raises(PassError, match=r"pass fail failed \(the first pass\)"):
        run([Fail()], captured)


def test_an_invalid_graph_is_caught(captured):
    with pytest.raises(PassError, match=r"pass unordered failed \(the first pass\)"):
        run([Unordered()], captured, verify=False)


def test_a_program_that_does_not_run_is_caught(captured):
    with pytest.raises(PassError, match="replace-relu"):
        run([Replace(aten.bmm.default)], captured)


def test_a_pass_that_denies_its_change_is_blamed_not_the_next(captured):
    with pytest.raises(PassError, match="pass lie"):
        run([Lie(), Canonicalize()], captured)


def test_observers_see_every_pass_with_the_program_after_it(captured):
    seen = []
    run([Canonicalize(), EliminateDead()], captured, lambda record, now: seen.append((record.name, operators(now))))
    assert seen == [("canonicalize", ["relu.default"]), ("eliminate-dead", ["relu.default"])]


def test_the_log_tells_what_happened(captured):
    nodes = len(captured.graph.nodes)
    run([Canonicalize(), EliminateDead()], captured)
    first, second = captured.log
    assert (first.name, first.changed, first.nodes, first.relative_error) == ("canonicalize", True, nodes - 1, 0.0)
    assert (second.name, second.changed, second.relative_error) == ("eliminate-dead", False, None)
    assert first.seconds > 0


def test_the_pipeline_keeps_the_function_and_its_structure():
    def forward(net, x):
        return {"y": net.norm(net.conv(x)).relu() * 2, "constant": torch.arange(3) + 1, "x": x}

    parts = {"conv": torch.nn.Conv2d(3, 4, 3), "norm": torch.nn.BatchNorm2d(4)}
    x = tensor(2, 3, 8, 8)
    done = run(PIPELINE, program(forward, x, **parts))
    assert_close(done(x), net(forward, **parts)(x))
    assert operators(done) == ["sparsecomp.conv.default", "mul.Tensor"]


def test_passes_have_names_of_their_own():
    assert len({pass_.name for pass_ in PIPELINE}) == len(set(PIPELINE))

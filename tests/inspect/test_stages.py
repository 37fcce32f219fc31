"""The program at every stage of a compile."""

from sparsecomp.inspect.graph import STAGES
from tests.graphs import assert_close
from tests.inspect.models import compiled, inputs, model


def test_every_stage_before_lowering_can_be_called():
    expected = model()(*inputs()).detach()
    for stage in STAGES[:-1]:
        assert_close(compiled().program(stage)(*inputs()), expected)


def test_each_stage_has_a_view():
    assert [view["stage"] for view in compiled().report.stages] == list(STAGES)


def test_facts_are_known_before_removal_and_slices_gone_after():
    propagated, removed = (compiled().report.stages[index]["nodes"] for index in (1, 2))
    facts = {node["layer"]: node["facts"] for node in propagated if node["op"] == "aten.conv2d.default"}
    assert "2 zero" in facts["conv"]
    types = {node["layer"]: node["type"] for node in removed if node["op"] == "aten.conv2d.default"}
    assert types["conv"] == "f32[32, 6, 8, 8]"

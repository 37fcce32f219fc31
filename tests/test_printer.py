"""Programs as text; ``pytest --update-golden`` writes what tests/golden/ holds."""

import pytest
import torch
from torch import nn

from sparsecomp.passes import PIPELINE, run
from sparsecomp.printer import to_text, type_text
from tests.graphs import program, tensor


def block(net, x):
    y = net.norm(net.conv(x))
    return (y + x).relu()


def block_parts():
    return {"conv": nn.Conv2d(4, 4, 3, padding=1, bias=False), "norm": nn.BatchNorm2d(4)}


PROGRAMS = {
    "residual-block": lambda: program(block, tensor(1, 4, 8, 8), **block_parts()),
    "residual-block-optimized": lambda: run(PIPELINE, program(block, tensor(1, 4, 8, 8), **block_parts())),
    "dynamic-batch": lambda: program(
        lambda net, x: net.head(x.flatten(1)).softmax(-1),
        tensor(2, 3, 4),
        dynamic=({0: torch.export.Dim("batch")},),
        head=nn.Linear(12, 5),
    ),
    "many-outputs": lambda: program(
        lambda net, x, i: {"parts": x.chunk(2, -1), "mask": i > 2, "constant": 3, "none": None, "double": x.double()},
        tensor(2, 4),
        torch.tensor([1, 2, 3]),
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_text_of_a_program(name, golden):
    golden(f"{name}.txt", to_text(PROGRAMS[name]()))


@pytest.mark.parametrize("name", PROGRAMS)
def test_text_has_a_line_for_each_node_and_names_every_operand_before_its_use(name):
    captured = PROGRAMS[name]()
    lines = to_text(captured).splitlines()
    assert len(lines) == len(captured.graph.nodes)
    for line, node in zip(lines, captured.graph.nodes, strict=True):
        assert line.startswith("return" if node.op == "output" else f"%{node.name}: ")
        assert all(f"%{source.name}" in line for source in node.all_input_nodes)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (torch.empty(1, 64), "f32[1, 64]"),
        (torch.empty((), dtype=torch.int64), "i64[]"),
        (torch.empty(2, dtype=torch.bool), "bool[2]"),
        (torch.empty(2, dtype=torch.bfloat16), "bf16[2]"),
        (torch.empty(2, dtype=torch.complex64), "torch.complex64[2]"),
        ((torch.empty(1), [torch.empty(2)]), "(f32[1], (f32[2]))"),
        (5, "5"),
        (None, "None"),
    ],
)
def test_types(value, text):
    assert type_text(value) == text

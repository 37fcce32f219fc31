"""The sums of a register tile stay in registers: seen in the machine code, as LLVM decides what it spills.

It does where it unrolls the loop of the products, which it does for processors that it knows.
"""

import re
from dataclasses import replace

import pytest
import torch
from torch import nn

import sparsecomp
from sparsecomp.kernels.problem import ConvProblem, LinearProblem, Problem
from sparsecomp.kernels.row_panel import build
from sparsecomp.kernels.schedule import (
    ChannelSchedule,
    ColumnSchedule,
    FeatureSchedule,
    Schedule,
    StripSchedule,
    WinogradTileSchedule,
)
from sparsecomp.kernels.space import space
from sparsecomp.lower.machine_code import compile_kernel
from sparsecomp.targets.base import Target
from tests.kernels.reference import AVX2, AVX512

PROBLEM = ConvProblem(1, 48, 96, 28, 28, (3, 3), (1, 1), (1, 1, 1, 1))
LINEAR = LinearProblem(196, 520, 96)
CPUS = pytest.mark.parametrize(
    "target", [replace(AVX2, mcpu="znver3", cores=1), replace(AVX512, mcpu="znver4", cores=1)], ids=["avx2", "avx512"]
)


def tiles(target: Target) -> dict[tuple[int, int, bool], ColumnSchedule]:
    """A schedule for each register tile of higher panels that takes at least half of the registers."""
    columns = [s for s in space(PROBLEM, 0.5, target) if isinstance(s, ColumnSchedule) and s.span == 1 and not s.expand]
    large = [s for s in columns if s.rows > 1 and 2 * s.rows * s.vectors >= target.vector_registers]
    return {(s.rows, s.vectors, s.sparse): s for s in large}


def splat_tiles(target: Target) -> dict[tuple[str, int, int], tuple[Problem, ChannelSchedule | FeatureSchedule]]:
    """A schedule for each tile of the dense kernels, which multiply vectors of weights by single values of x."""
    found: dict[tuple[str, int, int], tuple[Problem, ChannelSchedule | FeatureSchedule]] = {}
    for problem in (PROBLEM, LINEAR):
        for s in space(problem, 1.0, target):
            if isinstance(s, ChannelSchedule | FeatureSchedule) and s.lanes == target.lanes:
                values = s.pixels if isinstance(s, ChannelSchedule) else s.tokens
                found.setdefault((type(s).__name__, values, s.vectors), (problem, s))
    return found


def product_loop(problem: Problem, schedule: Schedule, target: Target, mark: str = "") -> list[str]:
    """The lines of the innermost loop with the most FMAs, of those in which ``mark`` occurs."""
    compiled = compile_kernel(build(problem, schedule), target)
    return most_products(compiled.mod.inspect_source("asm").splitlines(), mark)


def most_products(lines: list[str], mark: str = "") -> list[str]:
    """The innermost loop of a machine code with the most FMAs, of those in which ``mark`` occurs."""
    labels = {line.split(":")[0]: i for i, line in enumerate(lines) if re.match(r"\.\w+:", line)}
    jumps = ((i, re.search(r"\tj\w+\t(\.\w+)", line)) for i, line in enumerate(lines))
    loops = [(labels[m[1]], i) for i, m in jumps if m and labels.get(m[1], i) < i]
    inner = [a for a in loops if not any(a != b and a[0] <= b[0] and b[1] <= a[1] for b in loops)]
    marked = [lines[first:last] for first, last in inner if any(mark in line for line in lines[first:last])]
    return max(marked, key=lambda loop: sum("vfmadd" in line for line in loop))


def spills(loop: list[str]) -> list[str]:
    """The lines that store a vector to the stack, or load one."""
    return [line for line in loop if "rsp" in line and re.search("[yz]mm", line)]


@CPUS
def test_no_tile_spills_its_sums(target: Target) -> None:
    for tile, schedule in tiles(target).items():
        loop = product_loop(PROBLEM, schedule, target)
        assert sum("vfmadd" in line for line in loop) >= schedule.rows * schedule.vectors, tile
        assert not spills(loop), (tile, spills(loop)[:3])


@CPUS
@pytest.mark.parametrize("size", [7, 14])
def test_no_tail_spills_its_sums(target: Target, size: int) -> None:
    """Nor do products take their weights from the vector that the columns of a tail are multiplied with."""
    problem = ConvProblem(1, 48, 96, size, size, (1, 1))
    found = [s for s in space(problem, 1.0, target) if isinstance(s, ColumnSchedule) and s.direct]
    for schedule in {(s.rows, s.vectors): s for s in found}.values():
        loop = product_loop(problem, schedule, target)
        assert sum("vfmadd" in line for line in loop) >= schedule.rows * min(schedule.vectors, 3) + 1, schedule
        assert not spills(loop), (schedule, spills(loop)[:3])
        assert not any("vperm" in line for line in loop), schedule


@CPUS
def test_no_tile_of_the_dense_kernels_spills_its_sums(target: Target) -> None:
    for tile, (problem, schedule) in splat_tiles(target).items():
        loop = product_loop(problem, schedule, target)
        assert sum("vfmadd" in line for line in loop) >= tile[1] * tile[2], tile
        assert not spills(loop), (tile, spills(loop)[:3])


@CPUS
@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (7, 2)])
def test_strips_hardly_spill_their_sums(target: Target, size: int, stride: int) -> None:
    """One or two of ten, where there are 16 registers: such panels of 5 channels are faster than of 4, without any."""
    problem = ConvProblem(1, 8, 96, 48 * stride, 48 * stride, (size, size), (stride, stride), (size // 2,) * 4)
    found = [s for s in space(problem, 1.0, target) if isinstance(s, StripSchedule)]
    assert found
    for schedule in found:
        loop = product_loop(problem, schedule, target)
        products = sum("vfmadd" in line for line in loop)
        if schedule.rows > 4:  # LLVM writes out all rows of a window otherwise, and none is the innermost loop
            assert products >= schedule.rows * schedule.vectors * size, schedule
        assert 3 * len(spills(loop)) <= products, (schedule, spills(loop)[:3])


@CPUS
@pytest.mark.parametrize("slice", [2, 4])
def test_weights_of_a_slice_are_one_load(target: Target, slice: int) -> None:
    """What bounds these products is how many loads a core can do, and LLVM would rather load every weight by itself."""
    problem = replace(LINEAR, tokens=192)  # whole tiles
    found = next(s for s in space(problem, 0.1, target) if isinstance(s, ColumnSchedule) and s.slice == slice)
    loop = product_loop(problem, found, target)
    products = sum("vfmadd" in line for line in loop)
    loads = [line for line in loop if re.search(r"\t(vbroadcast|vmovddup|vmovs)", line) and "(" in line]
    assert products >= slice * found.vectors
    assert len(loads) == products / (slice * found.vectors), loads
    assert not spills(loop)


@CPUS
@pytest.mark.parametrize("cores", [1, 2])
def test_winograd_by_tiles_does_not_spill_its_sums(target: Target, cores: int) -> None:
    tiles = ConvProblem(1, 19, 48, 56, 56, (3, 3), (1, 1), (1, 1, 1, 1))
    target = replace(target, cores=cores)
    schedules = [s for s in space(tiles, 1.0, target) if isinstance(s, WinogradTileSchedule) and s.outputs == 4]
    large = {(s.panel, s.vectors): s for s in schedules if 2 * s.panel * s.vectors >= target.vector_registers}
    assert large
    for tile, schedule in large.items():
        loop = product_loop(tiles, schedule, target, "prefetcht1")
        assert sum("vfmadd" in line for line in loop) >= schedule.panel * schedule.vectors, tile
        assert not spills(loop), (tile, spills(loop)[:3])


@CPUS
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(38, 77, 3, stride=2, padding=1),  # the column kernel: its masks were kept in registers throughout
        nn.Conv2d(19, 38, 3, stride=2, padding=1),
        nn.Conv2d(38, 38, 3, padding=1),  # Winograd's algorithm
    ],
)
def test_programs_do_not_spill_what_kernels_do_not(layer: nn.Conv2d, target: Target) -> None:
    """In a program a kernel is a function of a worker's share, of which LLVM knows more: that has led it to spill."""
    x = torch.randn(1, layer.in_channels, 20, 20)
    library = sparsecomp.compile(layer.eval(), replace(target, cores=2), (x,), verify=False).prepare()
    (code,) = library.executable.mod.imports
    loop = most_products(code.inspect_source("asm").splitlines())
    assert sum("vfmadd" in line for line in loop) >= 8
    assert not spills(loop), spills(loop)[:3]

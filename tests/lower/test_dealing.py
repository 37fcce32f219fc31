"""Runs that are dealt out: every unit is done once, by whomever, in every call."""

import math
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import tvm
import tvm.tirx.script.builder.ir as T
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from tvm import ir
from tvm.script.ir_builder import IRBuilder

import sparsecomp
from sparsecomp.kernels.emit import argument, each_run, store
from sparsecomp.lower.dealing import LINE, sets
from sparsecomp.lower.machine_code import NAME
from sparsecomp.lower.stages import divide, keep_private, split
from sparsecomp.lower.static_calls import Place, StaticCall
from sparsecomp.lower.whole import add
from sparsecomp.memory_plan import ENTRY, WHOLE
from sparsecomp.targets import resolve


@pytest.mark.parametrize("stages", range(2, 10))
def test_counters_are_zero_and_nobody_reads_them_any_more(stages: int) -> None:
    used = sets(stages)
    assert len(used) == stages
    for (own, cleared), (following, _) in pairwise([*used, *used]):
        assert own != cleared == following


def test_one_stage_has_no_other_that_clears_its_counters() -> None:
    assert sets(1) == sets(0) == []


def counting(units: int, cores: int, together: int) -> Any:
    """A kernel that adds one to each unit."""
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("count")
        y = argument("y", (units,))
        with each_run(units, cores, math.inf, together) as (begin, end), T.serial(begin, end) as unit:
            store(y, y[unit] + 1.0, unit)
    return builder.get()


@settings(max_examples=15, deadline=None)
@given(units=st.integers(1, 200), cores=st.integers(2, 5), together=st.integers(1, 4), stages=st.integers(2, 5))
def test_every_unit_is_done_once(units: int, cores: int, together: int, stages: int) -> None:
    name = ir.GlobalVar("count")
    module = tvm.IRModule({name: counting(units, cores, together)})
    call = StaticCall(name, [(units,)], [Place("input", 0)])
    calls = SimpleNamespace(weights=0, size=0, kernels=[call] * stages, inputs=[((units,), "float32")], results=[])
    kernels = {name: divide(module, call, split(module[name]), cores)}
    plan = add(module, calls, kernels, cores)  # type: ignore[arg-type]  # what it reads of calls
    target = tvm.target.Target(resolve("native").tvm_options())
    run = tvm.compile(keep_private(module), target=target, tir_pipeline=NAME).jit()[WHOLE]
    y = tvm.runtime.tensor(np.zeros(units, np.float32))
    table = tvm.runtime.tensor(np.zeros(2 * plan.entries, np.int64))
    for calls_made in range(1, 4):
        run(y, table)
        np.testing.assert_array_equal(y.numpy(), calls_made * stages)


@pytest.mark.parametrize("layers", [2, 3])
def test_a_program_deals_out_its_large_layers(layers: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(512, 512) for _ in range(layers))).eval()
    x = torch.randn(256, 512)
    target = replace(resolve("native"), cores=2)
    library = (compiled := sparsecomp.compile(model, target, (x,))).prepare()
    assert library.plan is not None
    counters = 2 * (2 + layers % 2)  # of two workers
    assert library.plan.entries >= counters * LINE // ENTRY
    for _ in range(20):
        x = torch.randn(256, 512)
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)

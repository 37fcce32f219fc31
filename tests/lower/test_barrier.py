"""Workers wait for each other between stages."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tvm
import tvm.tirx.script.builder.ir as T
from tvm import ir
from tvm.script.ir_builder import IRBuilder

from sparsecomp.kernels.emit import argument, each_run, store
from sparsecomp.lower.machine_code import NAME
from sparsecomp.lower.stages import divide, keep_private, split
from sparsecomp.lower.static_calls import Place, StaticCall
from sparsecomp.lower.whole import add
from sparsecomp.memory_plan import WHOLE
from sparsecomp.targets import resolve
from sparsecomp.targets.threads import set_up_threads

set_up_threads()  # on one thread nobody has to wait
LONG = 2_000_000  # additions that wait for each other, two milliseconds: time enough for other threads to be there


def slow_first(units: int) -> Any:
    """Counts to one, and in the first unit to many."""
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("slow_first")
        y = argument("y", (units,))
        with each_run(units, units) as (begin, end), T.serial(begin, end) as unit:
            store(y, 0.0, unit)
            with T.serial(0, tvm.tirx.Select(unit == 0, LONG, 1)):
                store(y, y[unit] + 1.0, unit)
    return builder.get()


def from_others(units: int) -> Any:
    """Each worker reads what another one wrote."""
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("from_others")
        y, z = argument("y", (units,)), argument("z", (units,))
        with each_run(units, units) as (begin, end), T.serial(begin, end) as unit:
            store(z, y[(unit + units - 1) % units], unit)
    return builder.get()


@pytest.mark.parametrize("cores", [2, 3])
def test_nobody_reads_what_is_not_written(cores: int) -> None:
    names = [ir.GlobalVar("slow_first"), ir.GlobalVar("from_others")]
    module = tvm.IRModule(dict(zip(names, (slow_first(cores), from_others(cores)), strict=True)))
    y, z, shape = Place("input", 0), Place("input", 1), (cores,)
    calls = [StaticCall(names[0], [shape], [y]), StaticCall(names[1], [shape, shape], [y, z])]
    inputs = [(shape, "float32")] * 2
    program = SimpleNamespace(weights=0, size=0, kernels=calls, inputs=inputs, results=[])
    kernels = {call.kernel: divide(module, call, split(module[call.kernel]), cores) for call in calls}
    plan = add(module, program, kernels, cores)  # type: ignore[arg-type]  # what it reads of calls
    target = tvm.target.Target(resolve("native").tvm_options())
    run = tvm.compile(keep_private(module), target=target, tir_pipeline=NAME).jit()[WHOLE]
    table = tvm.runtime.tensor(np.zeros(2 * plan.entries, np.int64))
    for _ in range(3):
        values, copies = (tvm.runtime.tensor(np.zeros(cores, np.float32)) for _ in range(2))
        run(values, copies, table)
        np.testing.assert_array_equal(copies.numpy(), np.roll([LONG] + [1] * (cores - 1), 1))

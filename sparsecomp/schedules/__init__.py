"""How ordinary tensor programs run on a device: rules order the loops, then all get vectors and threads alike."""

from collections.abc import Callable

from tvm import IRModule, tirx
from tvm.s_tir import Schedule

from sparsecomp.schedules.elementwise import elementwise
from sparsecomp.schedules.fallback import fallback
from sparsecomp.schedules.finish import finish
from sparsecomp.schedules.matmul import matmul
from sparsecomp.schedules.reduction import rows, stages
from sparsecomp.targets.base import Target

Rule = Callable[[tirx.PrimFunc, Target], Schedule | None]
SCHEDULED, RULE = "tir.is_scheduled", "sparsecomp.rule"

# The first that applies wins; the last always does.
RULES: tuple[Rule, ...] = (elementwise, matmul, rows, stages, fallback)


def schedule(func: tirx.PrimFunc, target: Target) -> tirx.PrimFunc:
    """``func`` by the first rule of `RULES` that applies; the attribute `RULE` tells which."""
    for rule in RULES:
        sch = rule(func, target)
        if sch is not None:
            done = finish(sch.mod["main"], target)
            return done.with_attr(SCHEDULED, True).with_attr(RULE, rule.__name__)
    raise AssertionError("the fallback applies to every function")


def schedule_module(mod: IRModule, target: Target) -> IRModule:
    """Schedules every function that is not yet marked `SCHEDULED`."""
    new = dict(mod.functions_items())
    for var, func in new.items():
        if isinstance(func, tirx.PrimFunc) and not (func.attrs and func.attrs.get(SCHEDULED)):
            new[var] = schedule(func, target)
    return IRModule(new, attrs=mod.attrs)

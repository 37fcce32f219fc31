"""Relax -> scheduled TIR -> executable."""

from collections import Counter
from collections.abc import Callable

import tvm
from tvm import ir, relax

from sparsecomp.lower.calls import keep_marks, mark
from sparsecomp.lower.machine_code import NAME
from sparsecomp.lower.placement import place_parts
from sparsecomp.lower.stages import keep_private
from sparsecomp.lower.whole import as_one_function
from sparsecomp.memory_plan import MemoryPlan
from sparsecomp.schedules import schedule_module
from sparsecomp.targets.base import Target

Observer = Callable[[str, ir.IRModule], None]


def lower(module: ir.IRModule, target: Target, observe: Observer | None = None) -> ir.IRModule:
    """Legalise operators to TIR, fuse element-wise chains, schedule every function.

    Args:
        module: what the importer made.
        target: the device to compile for.
        observe: called with ``relax``, ``tir`` and ``scheduled`` and the module at that point.
    """
    notify = observe or (lambda _stage, _module: None)
    notify("relax", module)
    with tvm.target.Target(target.tvm_options()):
        module = mark(ir.transform.Sequential(_OPERATORS)(module))
        module = keep_marks(ir.transform.Sequential(_FUSION)(module))
        module = ir.transform.Sequential(_FUSED)(module)
        notify("tir", module)
        module = schedule_module(module, target)
    notify("scheduled", module)
    return module


def build(module: ir.IRModule, target: Target) -> tuple[relax.VMExecutable, MemoryPlan | None]:
    """Compile a lowered module to machine code; with it the memory of the program as one function, if it is one."""
    options = tvm.target.Target(target.tvm_options())
    with options:
        module = place_parts(ir.transform.Sequential(_ALLOCATE)(module))
        module, plan = as_one_function(module, target)
        module = relax.transform.StaticPlanBlockMemory()(module)
        module = keep_private(ir.transform.Sequential(_FINISH)(module))
        return tvm.compile(module, target=options, relax_pipeline=None, tir_pipeline=NAME), plan


_OPERATORS = (
    relax.transform.CanonicalizeBindings(),
    relax.transform.DecomposeOpsForInference(),
    relax.transform.LegalizeOps(),
    relax.transform.AnnotateTIROpPattern(),
    relax.transform.FoldConstant(),
    relax.transform.RewriteDataflowReshape(),  # now, while each still stands alone: a view, not a copy
    relax.transform.DeadCodeElimination(),
)
_FUSION = (relax.transform.FuseOps(),)
_FUSED = (
    relax.transform.FuseTIR(),
    relax.transform.DeadCodeElimination(),
)
_ALLOCATE = (
    relax.transform.ToNonDataflow(),
    relax.transform.RemovePurityChecking(),
    relax.transform.CallTIRRewrite(),
)
_FINISH = (
    relax.transform.LowerAllocTensor(),
    relax.transform.KillAfterLastUse(),
    relax.transform.LowerRuntimeBuiltin(),
    relax.transform.ComputePrimValue(),
    relax.transform.VMShapeLower(),
    relax.transform.AttachGlobalSymbol(),
)


def rules_used(module: ir.IRModule) -> dict[str, int]:
    """How many functions each kernel or schedule rule made."""
    names = [function.attrs.get("sparsecomp.rule") for function in module.functions.values() if function.attrs]
    return dict(Counter(str(name) for name in names if name is not None))

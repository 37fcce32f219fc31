"""Loop nests -> LLVM: a TIR pipeline for functions that are scheduled already.

TVM's default pipeline also lowers blocks, GPU threads, software pipelines and more. Our functions arrive as plain
loops, so most of that has nothing to do, and some of it is slow (it took half of the time of a compile) or fails on
symbolic sizes (`CompactBufferAllocation` overflows 32-bit literals).
"""

from typing import Any

import tvm
from tvm import ir, s_tir, tirx
from tvm.s_tir.pipeline import finalize_device_passes, finalize_host_passes
from tvm.tirx import compilation_pipeline

from sparsecomp.targets.base import Target

NAME = "sparsecomp"


@tirx.transform.prim_func_pass(opt_level=0)  # type: ignore[untyped-decorator]  # TVM has no type stubs
def _on_this_device(function: tirx.PrimFunc, _module: ir.IRModule, _context: Any) -> tirx.PrimFunc:
    """Let functions that others call with pointers allocate workspaces; `MakePackedAPI` does it for all others."""
    if "global_symbol" in function.attrs:
        return function
    body = function.body
    for key, value in (("device_id", 0), ("device_type", 1)):
        body = tirx.AttrStmt(ir.StringImm("default"), key, tirx.const(value, "int32"), body)
    return function.with_body(body)


_PASSES = (
    s_tir.transform.LowerInitBlock(),
    s_tir.transform.ConvertBlocksToOpaque(),
    s_tir.transform.LowerOpaqueBlock(),
    tirx.transform.FlattenBuffer(),
    tirx.transform.NarrowDataType(32),
    tirx.transform.VectorizeLoop(True),
    tirx.transform.StorageRewrite(),
    tirx.transform.UnrollLoop(),
    tirx.transform.StmtSimplify(),
    tirx.transform.RemoveNoOp(),
    s_tir.transform.RewriteUnsafeSelect(),
    tirx.transform.CommonSubexprElim(),
    tirx.transform.AnnotateEntryFunc(),
    tirx.transform.SplitHostDevice(),
    _on_this_device,
    tirx.transform.MakePackedAPI(),
)


def _pipeline() -> tuple[Any, Any, Any]:
    return ir.transform.Sequential(list(_PASSES)), finalize_host_passes, finalize_device_passes


compilation_pipeline.PIPELINE_MAP[NAME] = _pipeline


def compile_kernel(function: tirx.PrimFunc, target: Target) -> tvm.runtime.Executable:
    """The machine code that a program has for this function, by itself."""
    return tvm.compile(function, target=tvm.target.Target(target.tvm_options()), tir_pipeline=NAME)

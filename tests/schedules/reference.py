"""Runs a PyTorch function through the importer, the fusion of element-wise chains and the schedules."""

import torch
import tvm
from tvm import relax, tirx
from tvm.relax.frontend.torch import from_exported_program

from sparsecomp.schedules import RULE, schedule_module
from sparsecomp.targets.base import Target

HOST = Target("host", "this machine with plain vectors", "", "", vector_bits=256, vector_registers=16, cores=2)
WIDE = Target("wide", "vectors wider than this machine needs", "", "", vector_bits=512, vector_registers=32, cores=2)
FUSE = tvm.ir.transform.Sequential(
    [
        relax.transform.LegalizeOps(),
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
        relax.transform.DeadCodeElimination(),
    ]
)


class Function(torch.nn.Module):
    """A Python function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(*args)


def unscheduled(function, args, dynamic=None):
    """The fused, unscheduled module of ``function`` on ``args``."""
    shapes = None if dynamic is None else (tuple(dynamic),)
    program = torch.export.export(Function(function).eval(), args, dynamic_shapes=shapes)
    return FUSE(from_exported_program(program, run_ep_decomposition=False))


def functions(module):
    """The tensor functions of ``module`` by name."""
    found = {var.name_hint: func for var, func in module.functions_items()}
    return {name: func for name, func in found.items() if isinstance(func, tirx.PrimFunc)}


def rules(module):
    """Which rule scheduled which function."""
    return {name: func.attrs[RULE] for name, func in functions(module).items()}


def run(module, args):
    """Compiles ``module`` for this machine and gives its outputs as a list of tensors."""
    machine = relax.VirtualMachine(tvm.compile(module, target="llvm"), tvm.cpu())
    found = machine["main"](*[tvm.runtime.from_dlpack(a.contiguous()) for a in args])
    return [torch.from_dlpack(found[k]) for k in range(len(found))]


def call(func, *args, shape, dtype=torch.float32):
    """Runs one scheduled function with a poisoned output of ``shape``."""
    out = torch.full(shape, float("nan"), dtype=dtype)
    library = tvm.compile(tvm.IRModule({"kernel": func.with_attr("global_symbol", "kernel")}), target="llvm")
    library["kernel"](*[tvm.runtime.from_dlpack(a.contiguous()) for a in args], tvm.runtime.from_dlpack(out))
    return out


def scheduled(function, args, dynamic=None, target=HOST):
    """The scheduled module of ``function``."""
    return schedule_module(unscheduled(function, args, dynamic), target)


def error(found, expected):
    """``||found - expected|| / ||expected||`` in double precision."""
    found, expected = found.double(), expected.double()
    return ((found - expected).norm() / expected.norm().clamp_min(1e-30)).item()

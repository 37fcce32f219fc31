"""Program -> Relax -> scheduled TIR -> machine code. The only road to TVM."""

from sparsecomp.lower.callback import callbacks
from sparsecomp.lower.calls import KernelCall, Trace, code_of, trace
from sparsecomp.lower.decide import Decision, check_all_sparse
from sparsecomp.lower.importer import to_relax
from sparsecomp.lower.pack import pack_weights, stored_bytes
from sparsecomp.lower.pipeline import build, lower, rules_used
from sparsecomp.lower.tiles import choose_kernels

__all__ = [
    "Decision",
    "KernelCall",
    "Trace",
    "build",
    "callbacks",
    "check_all_sparse",
    "choose_kernels",
    "code_of",
    "lower",
    "pack_weights",
    "rules_used",
    "stored_bytes",
    "to_relax",
    "trace",
]

"""Program -> Relax -> scheduled TIR -> machine code. The only road to TVM."""

from sparsecomp.lower.callback import callbacks
from sparsecomp.lower.calls import KernelCall, Trace, code_of, trace
from sparsecomp.lower.decide import Decision, check_all_sparse, decide
from sparsecomp.lower.importer import to_relax
from sparsecomp.lower.pack import pack_weights, stored_bytes
from sparsecomp.lower.pipeline import build, lower, rules_used
from sparsecomp.lower.tiles import keep_tiles

__all__ = [
    "Decision",
    "KernelCall",
    "Trace",
    "build",
    "callbacks",
    "check_all_sparse",
    "code_of",
    "decide",
    "keep_tiles",
    "lower",
    "pack_weights",
    "rules_used",
    "stored_bytes",
    "to_relax",
    "trace",
]

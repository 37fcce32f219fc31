"""Program -> Relax -> scheduled TIR -> machine code. The only road to TVM."""

from sparsecomp.lower.callback import callbacks
from sparsecomp.lower.decide import Decision, check_all_sparse, decide
from sparsecomp.lower.importer import to_relax
from sparsecomp.lower.pack import pack_weights
from sparsecomp.lower.pipeline import build, lower, rules_used

__all__ = [
    "Decision",
    "build",
    "callbacks",
    "check_all_sparse",
    "decide",
    "lower",
    "pack_weights",
    "rules_used",
    "to_relax",
]

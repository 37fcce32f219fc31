"""Program -> Relax -> scheduled TIR -> machine code. The only road to TVM."""

from sparsecomp.lower.importer import to_relax
from sparsecomp.lower.pipeline import build, lower, rules_used

__all__ = ["build", "lower", "rules_used", "to_relax"]

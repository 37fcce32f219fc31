"""What zeros do in an operator, by operator family. Importing the package fills the registry."""

from sparsecomp.rules import (  # noqa: F401  importing a family registers its rules
    attention,
    conv,
    create,
    gate,
    join,
    matmul,
    norm,
    pointwise,
    reduce,
    spatial,
    take,
    view,
)
from sparsecomp.rules.base import RULES, Rule

__all__ = ["RULES", "Rule"]

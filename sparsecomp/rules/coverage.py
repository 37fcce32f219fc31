"""The table of operators and what their rules answer: ``python -m sparsecomp.rules.coverage > docs/coverage.md``."""

import sys
from typing import Any

from sparsecomp.rules import RULES
from sparsecomp.rules.base import Rule, need_everything, nothing_known, same_call

_HEAD = """# Operators with a rule

Made by `python -m sparsecomp.rules.coverage`. *Constant*: whether constant and equal slices of the inputs make such
slices of the results. *Not needed*: how unneeded input slices are found; from the axes alone, or also from zeros and
constants in what is summed over. *Fewer slices*: whether the call stays as it is or is rewritten.

| operator | constant | not needed | fewer slices |
|---|---|---|---|
"""


def table() -> str:
    """The table as Markdown."""
    return _HEAD + "".join(f"{_row(overload, RULES[overload])}\n" for overload in sorted(RULES, key=str))


def _row(overload: Any, rule: Rule) -> str:
    constant = "no" if rule.forward is nothing_known else "yes"
    needed = "axes" if rule.demand is need_everything else "axes and values"
    narrow = "as it is" if rule.narrow is same_call else "rewritten"
    return f"| `{overload}` | {constant} | {needed} | {narrow} |"


if __name__ == "__main__":
    sys.stdout.write(table())

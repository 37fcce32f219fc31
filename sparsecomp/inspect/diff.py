"""What happened to the graph between two stages."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from difflib import unified_diff
from typing import Any

from sparsecomp.inspect.graph import GraphView
from sparsecomp.inspect.render import to_dot, to_text

FIELDS = ("kind", "op", "layer", "type", "density", "facts", "inputs", "weights")


@dataclass(frozen=True)
class GraphDiff:
    """The difference of two views; nodes are the same where their ids are.

    Attributes:
        before, after: the two graphs.
        removed: ids that only ``before`` has.
        added: ids that only ``after`` has.
        changed: for each id that both have and that differs: for each entry that differs its value before and after.
    """

    before: GraphView
    after: GraphView
    removed: tuple[str, ...]
    added: tuple[str, ...]
    changed: Mapping[str, Mapping[str, tuple[Any, Any]]]

    def to_text(self) -> str:
        """How many nodes differ, and their lines, as a unified diff."""
        counts = f"{len(self.removed)} removed, {len(self.added)} added, {len(self.changed)} changed"
        before, after = self.before["stage"], self.after["stage"]
        old, new = to_text(self.before).splitlines(), to_text(self.after).splitlines()
        lines = unified_diff(old, new, before, after, lineterm="", n=1)
        return "\n".join([f"{before} -> {after}: {counts}", *lines]) + "\n"

    def to_dot(self) -> str:
        """The graph after, with what is gone dotted."""
        return to_dot(self.after, self.before)

    def to_json(self) -> str:
        """Ids and changes."""
        entries = asdict(self)
        stages = {"before": self.before["stage"], "after": self.after["stage"]}
        return json.dumps({**entries, **stages}, indent=1) + "\n"


def diff(before: GraphView, after: GraphView) -> GraphDiff:
    """Compare two stages of a compile: ``diff(report.stage("captured"), report.stage("fused"))``."""
    old, new = ({each["id"]: dict(each) for each in view["nodes"]} for view in (before, after))
    both = {name: (old[name], new[name]) for name in old if name in new}
    changes = {name: {key: (a[key], b[key]) for key in FIELDS if a[key] != b[key]} for name, (a, b) in both.items()}
    return GraphDiff(
        before=before,
        after=after,
        removed=tuple(name for name in old if name not in new),
        added=tuple(name for name in new if name not in old),
        changed={name: found for name, found in changes.items() if found},
    )

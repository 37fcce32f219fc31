"""What a compile leaves for its report: the graph at every stage, a row a layer, what runs, and its code."""

from collections.abc import Mapping
from typing import Any

from sparsecomp.inspect.graph import lowered_view
from sparsecomp.inspect.layers import layer_rows
from sparsecomp.inspect.stages import Stages
from sparsecomp.lower import Decision, code_of, trace
from sparsecomp.program import layer_path
from sparsecomp.targets.base import Target


def inspection(
    stages: Stages, module: Any, decisions: Mapping[str, Decision], stored: Mapping[str, int], target: Target
) -> dict[str, Any]:
    """The entries ``stages``, ``layers``, ``calls`` and ``code`` of a `Report`."""
    captured, fused = stages.programs["captured"], stages.programs["fused"]
    paths = {node.name: layer_path(node) for node in fused.calls()}
    ran = trace(module, paths)
    calls = tuple(call.to_dict() for call in ran.calls)
    views = stages.views()
    return {
        "stages": (*views, lowered_view(views[-1], calls, ran.results)),
        "layers": tuple(layer_rows(captured, fused, decisions, stored, ran, target)),
        "calls": calls,
        "code": code_of(module, ran),
    }

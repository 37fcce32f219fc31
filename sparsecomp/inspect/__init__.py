"""Looking at models and programs: reports, graphs at every stage and their differences, metrics of sparsity and work.

``sparsecomp.inspect(...)`` makes a report; the tools for graphs are imported from this package:

    from sparsecomp.inspect import diff, to_dot, to_json, to_svg, to_text
"""

from sparsecomp.inspect.diff import GraphDiff, diff
from sparsecomp.inspect.graph import STAGES, GraphView, ViewNode
from sparsecomp.inspect.render import to_dot, to_json, to_networkx, to_svg, to_text

__all__ = [
    "STAGES",
    "GraphDiff",
    "GraphView",
    "ViewNode",
    "diff",
    "to_dot",
    "to_json",
    "to_networkx",
    "to_svg",
    "to_text",
]

"""Remove what nothing reads: nodes without users and weights without nodes."""

from dataclasses import dataclass

from sparsecomp.program import Program, remove_unused_weights


@dataclass(frozen=True)
class EliminateDead:
    """Remove nodes whose results nobody uses, then the weights that no node reads.

    Before: ``a = relu(x); b = exp(x); return a``. After: ``a = relu(x); return a``. Inputs stay, used or not:
    they are the signature of the program.
    """

    name: str = "eliminate-dead"

    def apply(self, program: Program) -> bool:
        """See the class."""
        before = len(program.graph.nodes)
        for node in reversed(list(program.graph.nodes)):
            if node.op in ("call_function", "get_attr") and not node.users:
                program.graph.erase_node(node)
        changed = len(program.graph.nodes) < before
        if changed:
            remove_unused_weights(program)
        return changed

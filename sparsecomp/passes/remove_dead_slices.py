"""Remove every slice that nothing needs: channels, filters, heads, neurons; and every tensor that is known anyway."""

from dataclasses import dataclass

from sparsecomp.passes.eliminate_dead import EliminateDead
from sparsecomp.passes.narrow import Narrowing
from sparsecomp.passes.replace_constants import replace_constants
from sparsecomp.passes.what_goes import known_tensors, merged, what_goes
from sparsecomp.passes.what_stays import staying
from sparsecomp.program import Program
from sparsecomp.rules.coupling import Coupling
from sparsecomp.rules.propagate import applications, constants


@dataclass(frozen=True)
class RemoveDeadSlices:
    """Write the program with only those slices that its outputs depend on.

    Before, where rows 1 and 3 of ``w1`` and of the bias ``b1`` are zero::

        h = relu(linear(x, w1[4, 8], b1[4])); y = linear(h, w2[2, 4], b2[2])

    After::

        h = relu(linear(x, w1[2, 8], b1[2])); y = linear(h, w2[2, 2], b2[2])

    What a constant slice contributes moves into the bias of its readers, equal slices are computed once. Everything
    that is tied to a slice (residual branches, concatenations, reshapes, heads, groups) goes with it or keeps it.
    """

    name: str = "remove-dead-slices"

    def apply(self, program: Program) -> bool:
        """See the class. ``program.removed`` and ``program.staying`` tell what went and what stays."""
        changed = False
        while _round(program):
            changed = True
            EliminateDead().apply(program)
            program.finish()
        return changed


def _round(program: Program) -> bool:
    calls = applications(program.module)
    table = constants(program.module, calls)
    if replaced := replace_constants(program, table):
        program.removed = merged(program.removed, known_tensors(replaced, table))
        return True
    coupling = Coupling(program.module, calls, table)
    gone = what_goes(coupling)
    if not Narrowing(program, coupling).apply():
        program.staying = staying(coupling)
        return False
    program.removed = merged(program.removed, gone)
    return True

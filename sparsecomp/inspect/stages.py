"""Keeps the program as it is at each stage of a compile, so that it can be called, shown and compared later."""

from sparsecomp.inspect.graph import GraphView
from sparsecomp.inspect.views import Densities, view_of
from sparsecomp.passes import PIPELINE
from sparsecomp.program import PassRecord, Program

_NAMES = [each.name for each in PIPELINE]
# So many passes have run when a stage is reached. Removal is the pass that has facts before and fewer slices after.
_REACHED = {
    _NAMES.index("remove-dead-slices"): "propagated",
    _NAMES.index("mix-before-upsampling"): "removed",
    len(_NAMES): "fused",
}


class Stages:
    """The programs by the name of their stage, ``captured`` to ``fused``. They share weights that no pass changed."""

    def __init__(self) -> None:
        self.programs: dict[str, Program] = {}

    def captured(self, program: Program) -> None:
        """The program as it was captured."""
        self.programs = {"captured": program.copy()}

    def after_pass(self, _record: PassRecord, program: Program) -> None:
        """For the driver of `PIPELINE`."""
        stage = _REACHED.get(len(program.log))
        if stage is not None:
            self.programs[stage] = program.copy()

    def views(self) -> tuple[GraphView, ...]:
        """All of them as data; facts are read off the program before removal."""
        seen: Densities = {}
        return tuple(view_of(program, stage, stage == "propagated", seen) for stage, program in self.programs.items())

"""Runs of units: what a worker has of a stage, where that may be cut, so that others can take a part of it."""

from typing import Any, NamedTuple

from tvm import tirx
from tvm.tirx import For, ForKind

from sparsecomp.kernels.emit import DEALT, READS, RUN, WRITES
from sparsecomp.schedules.parallelize import cost
from sparsecomp.schedules.rewrite import replace

MANY = 4  # iterations of a worker, and
WORTH = 1 << 17  # scalar operations, which make its run worth cutting
Stmt = Any


class Run(NamedTuple):
    """The run of units that a worker has of a stage, where runs may be cut.

    Attributes:
        worker: of whom it is.
        begin, end: the unit with which it begins and that before which it ends, as statements that name them.
        together: units of which a run begins with the first.
        body: what does the units.
        dealt: whether it is worth to cut it and to deal it out.
        writes, reads: channels of the last and of the first argument that a unit has, see `kernels.emit.each_run`.
    """

    worker: Any
    begin: tirx.Bind
    end: tirx.Bind
    together: int
    body: list[Stmt]
    dealt: bool = True
    writes: int = 0
    reads: int = 0

    def limits(self, worker: Any) -> list[Any]:
        """Begin and end of the run of this worker."""
        return [replace(each.value, {self.worker: worker}) for each in (self.begin, self.end)]

    def named(self, cores: int) -> tuple[list[Any], list[Stmt]]:
        """Arguments for the limits of any run, and what they are named in the body.

        TVM must see how large they can be: where it multiplies the largest 32-bit number by a constant, it fails.
        """
        units = self.limits(tirx.const(cores - 1, "int32"))[1]
        names = [each.var for each in (self.begin, self.end)]
        arguments = [tirx.Var(f"{each.name}_unit", "int32") for each in names]
        bounded = [tirx.max(tirx.min(each, units), 0) for each in arguments]
        return arguments, [tirx.Bind(name, value) for name, value in zip(names, bounded, strict=True)]


def is_parallel(statement: Stmt) -> bool:
    """Whether it is a loop over workers, or one that is divided among them."""
    return isinstance(statement, For) and statement.kind == ForKind.PARALLEL


def run_of(stage: Stmt, cores: int) -> Run | None:
    """The run of each worker: what a kernel says (`kernels.emit.each_run`), or iterations of a long parallel loop."""
    if not is_parallel(stage) or cores == 1:
        return None
    if RUN in stage.annotations and stage.extent == cores:
        begin, end, *body = stage.body.seq
        together, dealt, writes, reads = (int(stage.annotations[mark]) for mark in (RUN, DEALT, WRITES, READS))
        return Run(stage.loop_var, begin, end, together, body, bool(dealt), writes, reads)
    work = cost(stage)
    if not (isinstance(stage.extent, tirx.IntImm) and isinstance(work, tirx.IntImm)):
        return None
    count = int(stage.extent)
    if count < MANY * cores or int(work) < WORTH * cores:
        return None
    worker, begin, end = (tirx.Var(name, "int32") for name in ("worker", "begin", "end"))
    first, last = (tirx.Cast(stage.extent.ty.dtype, each) for each in (begin, end))
    loop = For(stage.loop_var, stage.min + first, last - first, ForKind.SERIAL, stage.body)
    named = [tirx.Bind(var, each * count // cores) for var, each in ((begin, worker), (end, worker + 1))]
    return Run(worker, named[0], named[1], 1, [loop])

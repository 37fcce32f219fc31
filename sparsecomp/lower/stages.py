"""Kernels in stages: functions ``(worker, pointers...)`` of one worker's share, for whoever starts the workers.

Between two stages of a kernel all workers wait. Its arrays are given: those of a worker as the last pointers.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from tvm import ir, s_tir, tirx
from tvm.ir import Call, PointerType, PrimType
from tvm.tirx import For, ForKind, SeqStmt
from tvm.tirx.stmt import Return

from sparsecomp.lower.runs import Run, is_parallel, run_of
from sparsecomp.lower.static_calls import NotStaticError, StaticCall
from sparsecomp.schedules.rewrite import expressions, map_stmt, statements

SHARE = "sparsecomp.share"  # marks these functions
Stmt = Any


class Share(NamedTuple):
    """A function of one worker's share of a stage.

    Attributes:
        function: its name.
        run: what its share is, if the function does any run: begin and end are its arguments after the worker.
        parallel: there is more than one.
        scratch: the arrays that each worker has of its own; their addresses are its last arguments.
        kinds: the types of its pointers.
    """

    function: ir.GlobalVar
    run: Run | None
    parallel: bool
    scratch: list[Any]
    kinds: list[PointerType]


class Kernel(NamedTuple):
    """The stages of a kernel, between which all of its workers wait, and the arrays that it makes for them."""

    shares: list[Share]
    shared: list[Any]


class Parts(NamedTuple):
    """Of a kernel."""

    views: list[Stmt]
    shared: list[Stmt]
    stages: list[Stmt]


def split(function: tirx.PrimFunc) -> Parts:
    """The body of a kernel: other names of its parameters, arrays for all of its workers, and stages."""
    if not isinstance(function, tirx.PrimFunc):
        raise NotStaticError("it is no loop nest")
    found = Parts([], [], [])
    for statement in _top(function.body):
        if isinstance(statement, tirx.DeclBuffer):
            found.views.append(statement)
        elif isinstance(statement, tirx.AllocBuffer):
            found.shared.append(statement)
        elif not _is_nothing(statement):
            inner = statements(statement.body if isinstance(statement, For) else statement)
            if isinstance(statement, tirx.Bind) or any(is_parallel(each) for each in inner):
                raise NotStaticError(f"a stage of {function.attrs} has no simple shares")
            found.stages.append(statement)
    used = {each for stage in found.stages for each in expressions(stage) if isinstance(each, tirx.Var)}
    if used & _sizes(function):
        raise NotStaticError("a kernel reads a size")
    return found


def _top(body: Stmt) -> Iterator[Stmt]:
    while isinstance(body, s_tir.SBlockRealize):
        body = body.block.body
    yield from body.seq if isinstance(body, SeqStmt) else [body]


def _is_nothing(statement: Stmt) -> bool:
    return isinstance(statement, tirx.Evaluate) and isinstance(statement.value, tirx.IntImm)


def _sizes(function: tirx.PrimFunc) -> set[Any]:
    """The variables among the sizes of the parameters: how much of a weight is stored."""
    return {size for each in function.params for size in each.ty.shape if isinstance(size, tirx.Var)}


def divide(module: ir.IRModule, call: StaticCall, parts: Parts, cores: int) -> Kernel:
    """Make functions of the stages of a kernel, and let it call them."""
    function, shares, runs = module[call.kernel], [], []
    shared = [each.buffer for each in parts.shared]
    sizes = _known_sizes(function, call.shapes)
    for index, stage in enumerate(parts.stages):
        scratch, body = _without_scratch(stage)
        buffers = [*function.params, *shared, *scratch]
        kinds = [PointerType(PrimType(each.ty.dtype.dtype), "global") for each in buffers]
        name = ir.GlobalVar(f"{call.kernel.name_hint}_share{index}")
        share = Share(name, run_of(body, cores), is_parallel(stage) and cores > 1, scratch, kinds)
        module.update_func(name, _share(share, buffers, sizes, [*parts.views, body], cores))
        shares.append(share)
        made = [tirx.AllocBuffer(each) for each in scratch]
        runs.append(run(share, cores, partial(_data_of, buffers), made))
    if shares:
        module.update_func(call.kernel, function.with_body(SeqStmt([*parts.shared, *runs, tirx.Evaluate(0)])))
    return Kernel(shares, shared)


def _data_of(buffers: list[Any], _worker: Any) -> list[Any]:
    return [each.data for each in buffers]


def _without_scratch(stage: Stmt) -> tuple[list[Any], Stmt]:
    """The arrays that a stage makes, where their sizes are known, and the rest of it."""
    made = [each for each in statements(stage) if isinstance(each, tirx.AllocBuffer)]
    known = [each for each in made if all(isinstance(size, tirx.IntImm) for size in each.buffer.ty.shape)]
    nothing = tirx.Evaluate(0)
    rest = map_stmt(stage, lambda each: nothing if any(each.same_as(one) for one in known) else each)
    return [each.buffer for each in known], rest


def _known_sizes(function: tirx.PrimFunc, shapes: list[tuple[int, ...]]) -> dict[Any, int]:
    """Values of the variables among the sizes of parameters, as one call has them."""
    pairs = (
        (size, value)
        for each, shape in zip(function.params, shapes, strict=True)
        for size, value in zip(each.ty.shape, shape, strict=True)
    )
    return {size: value for size, value in pairs if isinstance(size, tirx.Var)}


def _share(share: Share, buffers: list[Any], sizes: dict[Any, int], body: list[Stmt], cores: int) -> tirx.PrimFunc:
    """The function ``(worker, [begin, end], pointers...)`` of a share of a stage, the last statement.

    It is called with weights of any size, and reads none: in declarations stand those of the first call.
    Nothing is said of its pointers being apart: with that LLVM loads so much ahead that it spills what was loaded.
    """
    worker = tirx.Var("worker", "int32")
    pointers = [tirx.Var(f"{each.name}_data", kind) for each, kind in zip(buffers, share.kinds, strict=True)]
    known = [tirx.Bind(size, tirx.const(value, size.ty.dtype)) for size, value in sizes.items()]
    declared = [tirx.DeclBuffer(each, data=pointer) for each, pointer in zip(buffers, pointers, strict=True)]
    *views, stage = body
    limits, bound = share.run.named(cores) if share.run else ([], [])
    part = share.run.body if share.run else [_part(stage, worker, cores)]
    return share_function([worker, *limits, *pointers], [*known, *declared, *views, *bound, *part])


def share_function(parameters: Sequence[Any], lines: Sequence[Stmt]) -> tirx.PrimFunc:
    """A function of a worker's share of something: it is called with pointers, and returns 0."""
    body = SeqStmt([*lines, Return(tirx.const(0, "int32"))])
    return tirx.PrimFunc(parameters, body, PrimType("int32")).with_attr({"s_tir": True, SHARE: True})


def _part(stage: Stmt, worker: Any, cores: int) -> Stmt:
    """A worker's iterations of a parallel loop: neighbours, as many for each; a stage of one worker as it is."""
    if not is_parallel(stage):
        return stage
    like = stage.extent.ty.dtype
    number, one = tirx.Cast(like, worker), tirx.const(1, like)
    step = (stage.extent + tirx.const(cores - 1, like)) // tirx.const(cores, like)
    first, last = (tirx.min(each * step, stage.extent) for each in (number, number + one))
    return For(stage.loop_var, stage.min + first, last - first, ForKind.SERIAL, stage.body)


def run(share: Share, cores: int, pointers: Callable[[Any], list[Any]], before: Sequence[Stmt] = ()) -> Stmt:
    """All workers' shares of a stage, each worker that runs it an iteration of a loop; ``pointers`` are a worker's."""
    worker = tirx.Var("worker", "int32")
    zero, extent = tirx.const(0, "int32"), tirx.const(cores if share.parallel else 1, "int32")
    limits = share.run.limits(worker) if share.run else []
    call = tirx.Evaluate(Call(share.function, [worker, *limits, *pointers(worker)], ret_ty=PrimType("int32")))
    kind = ForKind.PARALLEL if share.parallel else ForKind.SERIAL
    return For(worker, zero, extent, kind, SeqStmt([*before, call]) if before else call)


def keep_private(module: ir.IRModule) -> ir.IRModule:
    """Take from the functions of shares the symbol that Relax gives to all: these are called with pointers only."""
    for variable, function in module.functions_items():
        if isinstance(function, tirx.PrimFunc) and SHARE in function.attrs:
            module.update_func(variable, function.without_attr("global_symbol"))
    return module

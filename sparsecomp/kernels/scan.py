"""Recurrent layers: the state of an LSTM or GRU from step to step.

One task runs all steps of a few sequences in one direction. The weights lie in panels of hidden units: for each input
unit the weights of all gates of the panel's units are neighbours. So a vector holds hidden units, the gates of the same
units are computed together until the new state is made of them, and the weights are read once a step for all sequences
of the task.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tvm.tirx.script.builder.ir as T
from tvm import tirx
from tvm.script.ir_builder import IRBuilder

from sparsecomp.kernels.emit import Expr, argument, below, clear, let, load, local, put, ramp, scratch, splat, store
from sparsecomp.kernels.epilogue import sigmoid, tanh
from sparsecomp.targets.base import Target

Array = npt.NDArray[np.generic]

GATES = {"lstm": 4, "gru": 3}
STATES = {"lstm": 2, "gru": 1}
# Multiplications of vectors below which waking other threads costs more than they save.
MIN_WORK = 1 << 18


@dataclass(frozen=True)
class ScanSpec:
    """The problem, as ``sparsecomp.ops_recurrent`` has it.

    Attributes:
        cell: ``"lstm"`` or ``"gru"``.
        batch_first: whether gates are ``[batch, time, ...]``.
        batch, time: sizes; None where they are known at run time only.
        initial: for each state whether it begins with given values rather than zeros.
        bias: whether the new gate of a GRU has a bias of its own.
    """

    cell: str
    directions: int
    batch: int | None
    time: int | None
    hidden: int
    batch_first: bool
    initial: tuple[bool, ...]
    bias: bool = False

    @property
    def gates(self) -> int:
        """Gates of a hidden unit."""
        return GATES[self.cell]


def block_of(hidden: int) -> int:
    """Hidden units in a panel; panels may be filled up with units whose weights are zero."""
    return 32 if -(-hidden // 16) % 2 == 0 else 16


def pack(weight: Array) -> Array:
    """``[directions, gates * hidden, hidden]`` as ``[directions, panels, hidden, gates, units of a panel]``, flat."""
    directions, rows, hidden = weight.shape
    block = block_of(hidden)
    gates = weight.reshape(directions, rows // hidden, hidden, hidden)
    padded = np.pad(gates, ((0, 0), (0, 0), (0, -hidden % block), (0, 0))).astype(np.float32)
    panels = padded.reshape(directions, rows // hidden, -1, block, hidden)
    return np.ascontiguousarray(panels.transpose(0, 2, 4, 1, 3)).ravel()


def build(spec: ScanSpec, target: Target) -> tirx.PrimFunc:
    """The function (gates, packed weight[, bias][, initial states], out, last states)."""
    return _Builder(spec, target).build()


def _over(a: Expr, b: Expr) -> Expr:
    """``a / b`` of numbers that are not negative; TVM takes minutes to find that out where it must round down."""
    return a // b if isinstance(a, int) and isinstance(b, int) else tirx.truncdiv(a, b)


def _rest(a: Expr) -> Expr:
    """``a % 2``, likewise."""
    return a % 2 if isinstance(a, int) else tirx.truncmod(a, 2)


class _Builder:
    """Emits one kernel; the fields are what its parts share."""

    def __init__(self, spec: ScanSpec, target: Target) -> None:
        self.spec, self.lanes, self.cores = spec, target.lanes, target.cores
        self.block = block_of(spec.hidden)
        self.width = -(-spec.hidden // self.block) * self.block
        self.registers = target.vector_registers
        self.rows = self._rows()

    def _rows(self) -> int:
        """Sequences of a task: as many as registers allow, but some for every core."""
        most = (self.registers - 1) // (self.spec.gates + 1)
        if self.spec.batch is None:
            return most
        shares = min(self.spec.batch, -(-self.cores // self.spec.directions))
        return -(-self.spec.batch // max(-(-self.spec.batch // most), shares, 1))

    def build(self) -> tirx.PrimFunc:
        with IRBuilder() as builder, T.prim_func(s_tir=True):
            T.func_name(f"{self.spec.cell}_scan")
            self._declare()
            blocks = let("blocks", _over(self.batch + (self.rows - 1), self.rows))
            tasks = let("tasks", blocks * self.spec.directions)
            with (T.parallel if self._pays() else T.serial)(0, tasks) as task:
                direction = let("direction", _over(task, blocks))
                first = let("first", (task - direction * blocks) * self.rows)
                self._choose_rows(direction, first)
        return builder.get()

    def _pays(self) -> bool:
        """Whether to use threads."""
        s = self.spec
        steps = (s.batch or self.rows) * (s.time or MIN_WORK) * s.directions
        tasks = s.batch is None or s.directions * -(-s.batch // self.rows) > 1
        return self.cores > 1 and tasks and steps * s.gates * s.hidden * (self.width // self.lanes) >= MIN_WORK

    def _declare(self) -> None:
        s = self.spec
        batch = tirx.Var("batch", "int64") if s.batch is None else s.batch
        time = tirx.Var("time", "int64") if s.time is None else s.time
        lead = (batch, time) if s.batch_first else (time, batch)
        state = (s.directions, batch, s.hidden)
        self.gates = argument("gates", (*lead, s.directions * s.gates * s.hidden))
        self.weight = argument("weight", (s.directions * self.width * s.hidden * s.gates,))
        self.bias = argument("bias", (s.directions, s.hidden)) if s.bias else None
        self.initial = [argument(f"initial{i}", state) if given else None for i, given in enumerate(s.initial)]
        self.out = argument("out", (*lead, s.directions * s.hidden))
        self.last = [argument(f"last{i}", state) for i in range(STATES[s.cell])]
        self.batch = batch if isinstance(batch, int) else let("n", tirx.Cast("int32", batch))
        self.time = time if isinstance(time, int) else let("steps", tirx.Cast("int32", time))

    def _choose_rows(self, direction: Expr, first: Expr) -> None:
        """One sequence alone has code of its own; otherwise missing ones repeat the last."""
        if self.rows == 1:
            self._task(direction, first, 1)
        elif self.spec.batch is not None and self.spec.batch % self.rows != 1:
            self._task(direction, first, self.rows)
        else:
            with T.If(self.batch - first == 1):
                with T.Then():
                    self._task(direction, first, 1)
                with T.Else():
                    self._task(direction, first, self.rows)

    def _task(self, direction: Expr, first: Expr, rows: int) -> None:
        task = _Task(self, direction, first, rows)
        task.start()
        with T.serial(0, self.time) as step:
            time = step if self.spec.directions == 1 else tirx.Select(direction == 0, step, self.time - 1 - step)
            task.step(step, let("time", time))
        task.end()


class _Task:
    """All steps of ``rows`` sequences from ``first`` on, in one direction."""

    def __init__(self, kernel: _Builder, direction: Expr, first: Expr, rows: int) -> None:
        self.kernel, self.spec, self.lanes, self.direction, self.rows = (
            kernel,
            kernel.spec,
            kernel.lanes,
            direction,
            rows,
        )
        self.first = first
        self.size = rows * kernel.width
        # The state that the products read has two places, old and new by turns; the cell state of an LSTM has one.
        self.states = [scratch("h", 2 * self.size), *(scratch("c", self.size) for _ in kernel.last[1:])]
        per_gate = (kernel.registers - 1 - rows) // (rows * self.spec.gates)
        fitting = [n for n in (1, 2, 4, 8) if n * self.lanes <= kernel.block and n <= max(per_gate, 1)]
        self.vectors = fitting[-1]
        self.units = self.vectors * self.lanes
        self.line = scratch("line", rows * self.spec.gates * self.units)

    def sequence(self, row: Expr) -> Expr:
        """The place in the batch; missing sequences repeat the last."""
        return tirx.min(self.first + row, self.kernel.batch - 1)

    def start(self) -> None:
        for state, initial in zip(self.states, self.kernel.initial, strict=True):
            for row, at, unit, mask in self._vectors():
                value = splat(0.0, self.lanes)
                if initial is not None:
                    value = load(initial, mask, self.lanes, self.direction, self.sequence(row), unit)
                store(state, value, ramp(at, self.lanes))

    def end(self) -> None:
        newest = _rest(self.kernel.time) * self.size
        for state, last, offset in zip(self.states, self.kernel.last, (newest, 0), strict=False):
            for row, at, unit, mask in self._vectors():
                value = load(state, None, self.lanes, offset + at)
                put(last, value, mask, self.lanes, self.direction, self.sequence(row), unit)

    def _vectors(self) -> Iterator[tuple[Expr, Expr, Expr, Expr | None]]:
        """Within loops over the vectors of a state: row, place in the state, first unit, mask."""
        with T.serial(0, self.rows) as row, T.serial(0, self.kernel.width // self.lanes) as v:
            unit = let("unit", v * self.lanes)
            yield row, row * self.kernel.width + unit, unit, self.mask(unit)

    def mask(self, unit: Expr) -> Expr | None:
        return None if self.spec.hidden % self.kernel.block == 0 else below(unit, self.spec.hidden, self.lanes)

    def step(self, step: Expr, time: Expr) -> None:
        old, new = let("old", _rest(step) * self.size), let("new", (1 - _rest(step)) * self.size)
        with T.serial(0, self.kernel.width // self.units) as panel:
            unit = let("unit", panel * self.units)
            sums = local("sums", self.rows * self.spec.gates * self.units)
            self._clear(sums)
            self._products(sums, old, unit)
            finish = self._lstm if self.spec.cell == "lstm" else self._gru
            for i in range(0, self.rows * self.spec.gates * self.units, self.lanes):
                store(self.line, sums[ramp(i, self.lanes)], ramp(i, self.lanes))
            with T.serial(0, self.rows) as row, T.serial(0, self.vectors) as vector:
                finish(_Place(self, row, vector, unit, old, new, time))

    def _clear(self, sums: Expr) -> None:
        clear(sums, self.rows * self.spec.gates * self.units, self.lanes)

    def _products(self, sums: Expr, old: Expr, unit: Expr) -> None:
        hidden, gates, block = self.spec.hidden, self.spec.gates, self.kernel.block
        panel = self.direction * (self.kernel.width // block) + unit // block
        begin = let("begin", panel * (hidden * gates * block) + unit % block)
        with T.serial(0, hidden) as k:
            at = let("at", begin + k * (gates * block))
            values = [
                let("value", splat(self.states[0][old + (row * self.kernel.width) + k], self.lanes))
                for row in range(self.rows)
            ]
            for gate in range(gates):
                for vector in range(self.vectors):
                    weight = let(
                        "w", load(self.kernel.weight, None, self.lanes, at + gate * block + vector * self.lanes)
                    )
                    for row, value in enumerate(values):
                        i = ramp(self.place(row, gate, vector), self.lanes)
                        store(sums, sums[i] + value * weight, i)

    def place(self, row: Expr, gate: int, vector: Expr) -> Expr:
        """Where the sum of a gate stands."""
        return ((row * self.spec.gates + gate) * self.vectors + vector) * self.lanes

    def _lstm(self, place: "_Place") -> None:
        i, f, g, o = (let("gate", place.gate(index) + place.sum(index)) for index in range(4))
        cell = ramp(place.row * self.kernel.width + place.unit, self.lanes)
        n = self.lanes
        c = let("c", sigmoid(f, n) * self.states[1][cell] + sigmoid(i, n) * tanh(g, n))
        store(self.states[1], c, cell)
        place.put(let("h", sigmoid(o, n) * tanh(c, n)))

    def _gru(self, place: "_Place") -> None:
        reset, update = (let("gate", sigmoid(place.gate(index) + place.sum(index), self.lanes)) for index in range(2))
        inner = place.sum(2)
        if self.kernel.bias is not None:
            inner = inner + load(self.kernel.bias, place.mask, self.lanes, self.direction, place.unit)
        new = let("new", tanh(place.gate(2) + reset * inner, self.lanes))
        place.put(let("h", new + update * (place.previous() - new)))


class _Place:
    """One vector of hidden units of one sequence at one step."""

    def __init__(self, task: _Task, row: Expr, vector: Expr, unit: Expr, old: Expr, new: Expr, time: Expr) -> None:
        self.task, self.row, self.vector, self.time = task, row, vector, time
        self.unit = let("unit", unit + vector * task.lanes)
        self.mask = task.mask(self.unit)
        self.old, self.new = (state + row * task.kernel.width + self.unit for state in (old, new))

    def sum(self, gate: int) -> Expr:
        """The products of a gate with the state."""
        return load(self.task.line, None, self.task.lanes, self.task.place(self.row, gate, self.vector))

    def gate(self, gate: int) -> Expr:
        """The products of a gate with the input."""
        spec = self.task.spec
        start = (self.task.direction * spec.gates + gate) * spec.hidden + self.unit
        return load(self.task.kernel.gates, self.mask, self.task.lanes, *self._lead(), start)

    def previous(self) -> Expr:
        """The state before."""
        return load(self.task.states[0], None, self.task.lanes, self.old)

    def put(self, h: Expr) -> None:
        """Write the state after, which is the output too."""
        task = self.task
        store(task.states[0], h, ramp(self.new, task.lanes))
        start = task.direction * task.spec.hidden + self.unit
        put(task.kernel.out, h, self.mask, task.lanes, *self._lead(), start)

    def _lead(self) -> tuple[Expr, Expr]:
        row = self.task.sequence(self.row)
        return (row, self.time) if self.task.spec.batch_first else (self.time, row)

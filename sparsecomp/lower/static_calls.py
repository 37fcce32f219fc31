"""The kernels that a program of known sizes runs, and where in memory their arguments are.

Read before memory is planned: what `main` does is allocate, look at tensors in another shape, and call kernels.
"""

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import tvm
from tvm import ir, relax, tirx

from sparsecomp.lower.buffers import Buffer, arrange
from sparsecomp.lower.calls import bindings, is_call, returned
from sparsecomp.memory_plan import ALIGNMENT


class NotStaticError(Exception):
    """What is known when a program is compiled does not suffice to run it."""


class Place(NamedTuple):
    """Where a tensor is: in which input, weight or result, or at which byte of the buffer of all others."""

    kind: str
    at: int


class _Part(NamedTuple):
    """Where a tensor is, before the buffers have their places: in which of them, at which byte."""

    buffer: int
    at: int


class StaticCall(NamedTuple):
    """A call of a compiled function.

    Attributes:
        kernel: which one.
        shapes, places: of its arguments.
        passed_on: whether its result, the last argument, is the first one of the next call, and nobody else reads it.
    """

    kernel: ir.GlobalVar
    shapes: list[tuple[int, ...]]
    places: list[Place]
    passed_on: bool = False


@dataclass
class StaticCalls:
    """What ``main`` runs.

    Attributes:
        kernels: the calls of compiled functions, in order.
        size: bytes of the buffer of what is neither input nor weight nor result.
        inputs, results: shape and type of each.
        weights: how many there are.

    Raises:
        NotStaticError: sizes vary, torch is called, or a result is no tensor of its own.
    """

    main: relax.Function
    kernels: list[StaticCall] = field(default_factory=list)
    size: int = 0
    inputs: list[tuple[tuple[int, ...], str]] = field(default_factory=list)
    results: list[tuple[tuple[int, ...], str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        *inputs, self._weights = self.main.params
        self.weights = len(self._weights.ty.fields)
        self.inputs = [(shape_of(each), str(each.ty.dtype)) for each in inputs]
        self._places: dict[Any, Place | _Part] = {each: Place("input", index) for index, each in enumerate(inputs)}
        self._storages: dict[Any, int] = {}
        self._buffers: list[Buffer] = []
        self._calls: list[tuple[Any, list[Place | _Part]]] = []
        self._sources = _sources(self.main)
        self._own = self._find_results()
        for binding in bindings(self.main):
            self._read(binding.var, binding.value)
        if self._own:
            raise NotStaticError("an input or a weight is returned")
        self._passed_on = [self._is_passed_on(index) for index in range(len(self._calls))]
        self.arrange()

    def arrange(self, linked: Iterable[int] = ()) -> None:
        """Give all values their places; a linked call reads what it needs until the next one is done."""
        for index in linked:
            for buffer in self._buffers_of(index):
                buffer.last = max(buffer.last, index + 1)
        starts, self.size = arrange(self._buffers)
        self.kernels = []
        for (call, places), passed_on in zip(self._calls, self._passed_on, strict=True):
            shapes = [shape_of(each) for each in call.args]
            placed = [_placed(each, starts) for each in places]
            self.kernels.append(StaticCall(call.op, shapes, placed, passed_on))

    def _is_passed_on(self, index: int) -> bool:
        *given, result = self._calls[index][1]
        if index + 1 == len(self._calls) or not isinstance(result, _Part):
            return False
        buffer, following = self._buffers[result.buffer], self._calls[index + 1][1]
        shared = [each for each in (*given, *following) if isinstance(each, _Part) and each.buffer == result.buffer]
        return (buffer.first, buffer.last) == (index, index + 1) and shared == [following[0]] == [result]

    def _find_results(self) -> dict[Any, int]:
        """Which allocation is which result."""
        value = returned(self.main)
        fields = list(value.fields) if isinstance(value, relax.Tuple) else [value]
        self.results = [(shape_of(each), str(each.ty.dtype)) for each in fields]
        found = {self._sources.get(each, each): index for index, each in enumerate(fields)}
        if len(found) < len(fields):
            raise NotStaticError("a tensor is returned twice")
        return found

    def _read(self, variable: Any, value: Any) -> None:
        if isinstance(value, relax.TupleGetItem) and value.tuple_value.same_as(self._weights):
            self._places[variable] = Place("weight", value.index)
        elif variable in self._sources:
            self._places[variable] = self._place(self._sources[variable])
        elif is_call(value, "relax.memory.alloc_storage"):
            self._storages[variable] = self._new_buffer(aligned_bytes(value.args[0].values, "uint8"))
        elif is_call(value, "relax.memory.alloc_tensor"):
            self._places[variable] = _Part(self._storages[value.args[0]], int(value.args[1].value))
        elif is_call(value, "relax.builtin.alloc_tensor"):
            self._places[variable] = self._allocated(variable)
        elif isinstance(value, relax.Call) and isinstance(value.op, ir.GlobalVar):
            self._call(value)
        elif not isinstance(value, relax.Tuple):
            raise NotStaticError(str(value))

    def _call(self, call: Any) -> None:
        """A kernel, which needs its arguments now."""
        now, places = len(self._calls), [self._place(each) for each in call.args]
        self._calls.append((call, places))
        for buffer in self._buffers_of(now):
            buffer.first, buffer.last = min(buffer.first, now), now

    def _buffers_of(self, index: int) -> list[Buffer]:
        return [self._buffers[each.buffer] for each in self._calls[index][1] if isinstance(each, _Part)]

    def _allocated(self, variable: Any) -> Place | _Part:
        if variable in self._own:
            return Place("result", self._own.pop(variable))
        return _Part(self._new_buffer(aligned_bytes(shape_of(variable), variable.ty.dtype)), 0)

    def _place(self, argument: Any) -> Place | _Part:
        if not isinstance(argument, relax.Var) or argument not in self._places:
            raise NotStaticError(str(argument))
        return self._places[argument]

    def _new_buffer(self, size: int) -> int:
        """The number of a buffer that no call needs yet."""
        self._buffers.append(Buffer(size, first=sys.maxsize, last=-1))
        return len(self._buffers) - 1


def _placed(place: Place | _Part, starts: list[int]) -> Place:
    return Place("buffer", starts[place.buffer] + place.at) if isinstance(place, _Part) else place


def _sources(main: relax.Function) -> dict[Any, Any]:
    """The tensors of which other variables are but names, or the same values in another shape."""
    found: dict[Any, Any] = {}
    tuples: dict[Any, Any] = {}
    for binding in bindings(main):
        value = binding.value
        if isinstance(value, relax.Tuple):
            tuples[binding.var] = value.fields
            continue
        if isinstance(value, relax.TupleGetItem):
            value = tuples[value.tuple_value][value.index] if value.tuple_value in tuples else None
        elif is_call(value, "relax.reshape", "relax.memory.ensure_zero_offset"):
            value = value.args[0]
        if isinstance(value, relax.Var):
            found[binding.var] = found.get(value, value)
    return found


def shape_of(tensor: Any) -> tuple[int, ...]:
    """The sizes of a tensor, all of which must be known."""
    shape = getattr(tensor.ty, "shape", None)
    if not isinstance(shape, relax.ShapeExpr) or not all(isinstance(size, tirx.IntImm) for size in shape.values):
        raise NotStaticError(f"{tensor} has a size that varies")
    return tuple(int(size) for size in shape.values)


def aligned_bytes(shape: Iterable[Any], dtype: Any) -> int:
    """Bytes of an array, in whole cache lines."""
    size = math.prod(int(each) for each in shape) * int(tvm.DataType(dtype).itemsize)
    return -(-size // ALIGNMENT) * ALIGNMENT

"""The engine: calls a compiled library with tensors of any framework, without copying them. Needs no torch."""

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import is_
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import tvm
import tvm_ffi
from tvm import relax

from sparsecomp.errors import InputError
from sparsecomp.memory_plan import ALIGNMENT, WHOLE, MemoryPlan
from sparsecomp.signature import Signature
from sparsecomp.targets.threads import set_up_threads

set_up_threads()

MOST_AHEAD = 8  # calls whose results are made at once
ROOM_AHEAD = 8 << 20  # bytes that they may take

_Run = Callable[[Sequence[Any], Any], list[Any]]
"""The results for these tensors: of torch, if that is given, else of numpy."""


class Event(NamedTuple):
    """One call inside of a program: seconds from the begin of the run, and seconds that it took."""

    name: str
    start: float
    seconds: float


class Engine:
    """A loaded library, its weights and its signature.

    Calls from several threads are serialised: one runs at a time, with all cores.

    Args:
        library: what TVM compiled, or loaded from a file.
        weights: the tensors that it reads, in the order that it reads them.
        signature: what it takes and gives.
        copied: results that are an input or a weight, so that the caller must get a copy.
        plan: the memory of the program as one function, if it is one; else it runs in the virtual machine.
    """

    def __init__(
        self,
        library: Any,
        weights: Sequence[Any],
        signature: Signature,
        copied: Sequence[int] = (),
        plan: MemoryPlan | None = None,
    ) -> None:
        self.signature = signature
        self.copied = tuple(copied)
        self._library = library
        self._machine = relax.VirtualMachine(library, tvm.cpu())
        self._weights = tvm_ffi.Array([to_tvm(weight) for weight in weights])
        self._run: _Run = partial(_in_machine, self._machine["main"], self._weights)
        if plan is not None:
            self._run = _OneFunction(library, self._weights, plan)
        self._tensors = [index for index, item in enumerate(signature.inputs) if item.dtype]
        self._checks = plan is not None and signature.parts.count == 1  # the function itself looks at each tensor
        self._flat: Any = None  # the types of a call whose arguments are the flat inputs, and of torch or not
        self._lock = Lock()

    def __call__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        """The flat results, as torch tensors if any input is one, else as numpy arrays."""
        given = [*args, *kwargs.values()]
        types = [len(args), *kwargs, *map(type, given)]
        flat = self._flat  # another thread may replace it
        if flat is not None and flat[0] == types:
            outputs = self._call_flat(given, flat[1], (args, kwargs))
        else:
            outputs = self._call_checked(self.signature.flatten(args, kwargs), given, types)
        for index in self.copied:
            outputs[index] = outputs[index].clone() if hasattr(outputs[index], "clone") else outputs[index].copy()
        return outputs

    def _call_checked(self, leaves: list[Any], given: list[Any], types: list[Any]) -> list[Any]:
        torch = _torch_of([leaves[index] for index in self._tensors])
        with self._lock:
            parts = [self._run(inputs, torch) for inputs in self._parts(leaves)]
        flat = self._checks and len(leaves) == len(given) == len(self._tensors) and all(map(is_, leaves, given))
        self._flat = (types, torch) if flat else None
        return parts[0] if len(parts) == 1 else [_join(results, torch) for results in zip(*parts, strict=True)]

    def _call_flat(self, given: list[Any], torch: Any, call: tuple[Any, Any]) -> list[Any]:
        """Without a look at the tensors, which takes 50 microseconds where caches are cold: the function has one."""
        try:
            with self._lock:
                return self._run([to_tvm(each) for each in given], torch)
        except Exception:
            self.signature.flatten(*call)  # says better what is wrong
            raise

    def _parts(self, leaves: Sequence[Any]) -> Iterator[list[Any]]:
        """The tensors to call the program with, for each part of the batch."""
        for part in self.signature.parts.cut(leaves):
            yield [to_tvm(part[index]) for index in self._tensors]

    def watched(self, args: Sequence[Any], kwargs: Mapping[str, Any], runs: int) -> Iterator[list[Event]]:
        """Run the program and time every call that the virtual machine makes; one list of events for each run.

        Another virtual machine over the same code is watched, so that ordinary calls are not slowed down.
        """
        parts = list(self._parts(self.signature.flatten(args, kwargs)))
        machine, events = relax.VirtualMachine(self._library, tvm.cpu()), _Events()
        machine.set_instrument(events)
        for _ in range(runs):
            with self._lock:
                events.begin()
                for inputs in parts:
                    machine["main"](*inputs, self._weights)
            yield events.found


def _in_machine(main: Any, weights: Any, inputs: Sequence[Any], torch: Any) -> list[Any]:
    """The results of the virtual machine."""
    results = main(*inputs, weights)
    return [(np if torch is None else torch).from_dlpack(result) for result in results]


class _OneFunction:
    """Runs a program that is one function, in memory of its own."""

    def __init__(self, library: Any, weights: Sequence[Any], plan: MemoryPlan) -> None:
        self._function = library.get_function(WHOLE, query_imports=True)
        self._results = plan.results
        self._buffer = tvm.runtime.empty((max(plan.size, 1),), "uint8")
        first = self._buffer.data_ptr()
        addresses = [*(weight.data_ptr() for weight in weights), *(first + place for place in plan.places)]
        table = np.zeros((max(len(addresses), plan.entries, 1), 2), np.int64)
        table[: len(addresses), 1] = addresses
        self._table = tvm.runtime.tensor(table.ravel())
        self._empty: list[Callable[[], Any]] = []
        self._made: list[list[Any]] = []
        size = sum(math.prod(shape) * tvm_ffi.dtype(dtype).itemsize for shape, dtype in plan.results)
        self._ahead = max(1, min(MOST_AHEAD, ROOM_AHEAD // max(size, 1)))

    def __call__(self, inputs: Sequence[Any], torch: Any) -> list[Any]:
        if torch is not None:
            outputs = self._made.pop() if self._made else self._make(torch)
            self._function(*inputs, self._table, *outputs)
            return outputs
        results = [tvm.runtime.empty(shape, dtype) for shape, dtype in self._results]
        self._function(*inputs, self._table, *results)
        return [np.from_dlpack(result) for result in results]

    def _make(self, torch: Any) -> list[Any]:
        """Tensors for the results of this call, and of some to come: the first that torch makes takes 50 microseconds.

        None belongs to an inference mode of the call: later calls may be outside of it.
        """
        self._empty = self._empty or [_empty(torch, *result) for result in self._results]
        with torch.inference_mode(False):
            self._made = [[empty() for empty in self._empty] for _ in range(self._ahead)]
        return self._made.pop()


def _empty(torch: Any, shape: Sequence[int], dtype: str) -> Callable[[], Any]:
    """Makes a torch tensor on the CPU; all that can be known before is, since torch is slow where caches are cold."""
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    kind, cpu = getattr(torch, dtype), torch.device("cpu")
    return partial(torch.empty_strided, tuple(shape), strides, dtype=kind, device=cpu)


class _Events:
    """What the virtual machine calls before and after each of its calls.

    The last thing before a call and the first after it is to read the clock; what is timed is too long by the half
    microsecond that it takes to enter this function.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """A new run."""
        self.found: list[Event] = []
        self._origin = self._start = time.perf_counter()

    def __call__(self, _function: Any, name: str, before: bool, *_: Any) -> int:
        now = time.perf_counter()
        if not before:
            self.found.append(Event(name, self._start - self._origin, now - self._start))
        self._start = time.perf_counter()
        return 0


def to_tvm(tensor: Any) -> Any:
    """A TVM tensor over the same memory; a copy where that is not contiguous, aligned and writable."""
    try:
        return tvm_ffi.from_dlpack(tensor, require_alignment=ALIGNMENT, require_contiguous=True)
    except (RuntimeError, BufferError, ValueError):
        return tvm_ffi.from_dlpack(_aligned_copy(tensor))


def _aligned_copy(tensor: Any) -> Any:
    torch = sys.modules.get("torch")
    try:
        if torch is not None and isinstance(tensor, torch.Tensor):
            return torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu").copy_(tensor.detach())
        copy = tvm.runtime.empty(tensor.shape, str(tensor.dtype))
        np.copyto(np.from_dlpack(copy), tensor)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"call: {type(tensor).__name__} cannot be read ({error}); pass a dense tensor or array"
        ) from error
    return copy


def _torch_of(inputs: Sequence[Any]) -> Any:
    """The module torch, if any of the inputs is a tensor of it."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and any(isinstance(each, torch.Tensor) for each in inputs) else None


def _join(results: Sequence[Any], torch: Any) -> Any:
    return np.concatenate(results) if torch is None else torch.cat(results)

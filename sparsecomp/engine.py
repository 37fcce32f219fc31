"""The engine: calls a compiled library with tensors of any framework, without copying them. Needs no torch."""

import os
import sys
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import relax

from sparsecomp.errors import InputError
from sparsecomp.signature import Signature
from sparsecomp.targets import detect

# TVM takes half of the cores it sees for hyper-threads of the others and leaves them idle, unless it is told otherwise
# before its first parallel loop.
os.environ.setdefault("TVM_NUM_THREADS", str(detect().cores))

ALIGNMENT = 64  # bytes; compiled code loads and stores whole vectors


class Engine:
    """A loaded library, its weights and its signature.

    Calls from several threads are serialised: one runs at a time, with all cores.

    Args:
        library: what TVM compiled, or loaded from a file.
        weights: the tensors that it reads, in the order that it reads them.
        signature: what it takes and gives.
        copied: results that are an input or a weight, so that the caller must get a copy.
    """

    def __init__(self, library: Any, weights: Sequence[Any], signature: Signature, copied: Sequence[int] = ()) -> None:
        self.signature = signature
        self.copied = tuple(copied)
        self._machine = relax.VirtualMachine(library, tvm.cpu())
        self._main = self._machine["main"]
        self._weights = tvm_ffi.Array([to_tvm(weight) for weight in weights])
        self._tensors = [index for index, item in enumerate(signature.inputs) if item.dtype]
        self._lock = Lock()

    def __call__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        """The flat results, as torch tensors if any input is one, else as numpy arrays."""
        leaves = self.signature.flatten(args, kwargs)
        inputs = [to_tvm(leaves[index]) for index in self._tensors]
        convert = _from_tvm([leaves[index] for index in self._tensors])
        with self._lock:
            results = self._main(*inputs, self._weights)
        outputs = [convert(result) for result in results]
        for index in self.copied:
            outputs[index] = outputs[index].clone() if hasattr(outputs[index], "clone") else outputs[index].copy()
        return outputs


def to_tvm(tensor: Any) -> Any:
    """A TVM tensor over the same memory; a copy where that is not contiguous, aligned and writable."""
    if getattr(tensor, "requires_grad", False):
        tensor = tensor.detach()
    try:
        return tvm_ffi.from_dlpack(tensor, require_alignment=ALIGNMENT, require_contiguous=True)
    except (RuntimeError, BufferError, ValueError):
        return tvm_ffi.from_dlpack(_aligned_copy(tensor))


def _aligned_copy(tensor: Any) -> Any:
    torch = sys.modules.get("torch")
    try:
        if torch is not None and isinstance(tensor, torch.Tensor):
            return torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)
        copy = tvm.runtime.empty(tensor.shape, str(tensor.dtype))
        copy.copyfrom(np.array(tensor, order="C"))
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"call: {type(tensor).__name__} cannot be read ({error}); pass a dense tensor or array"
        ) from error
    return copy


def _from_tvm(inputs: Sequence[Any]) -> Any:
    torch = sys.modules.get("torch")
    if torch is not None and any(isinstance(item, torch.Tensor) for item in inputs):
        return torch.from_dlpack
    return np.from_dlpack

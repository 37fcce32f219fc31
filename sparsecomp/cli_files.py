"""What the command line reads from files: models, and arrays for them."""

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsecomp.errors import CaptureError, InputError

if TYPE_CHECKING:
    import torch

    from sparsecomp.runtime import Compiled


def read_exported(path: Path) -> "torch.export.ExportedProgram":
    """Read a model.

    Raises:
        CaptureError: the file is no ``torch.export.save`` file.
    """
    import torch

    if not zipfile.is_zipfile(path):
        raise CaptureError(f"{path} is no torch.export.save file")
    try:
        return torch.export.load(path)
    except Exception as e:  # a foreign zip file fails in many ways
        raise CaptureError(f"{path} cannot be read by torch.export.load: {e}") from e


def read_calibration(
    exported: "torch.export.ExportedProgram", path: Path
) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Calls of a model from the examples in a file, as many at a time as the model was exported for.

    Raises:
        InputError: the file holds no arrays, or their first axes differ.
    """
    import torch

    args, kwargs = exported.example_inputs or ((), {})
    arrays = _arrays(path)
    counts = {len(array) if array.ndim else 0 for array in arrays.values()}
    tensors = [leaf for leaf in (*args, *kwargs.values()) if isinstance(leaf, torch.Tensor) and leaf.dim()]
    batch = tensors[0].shape[0] if tensors else 1
    if len(counts) != 1:
        raise InputError(f"{path}: every array needs an entry for each example along its first axis")
    found = []
    for start in range(0, min(counts) - batch + 1, batch):
        part = {name: torch.from_numpy(array[start : start + batch]) for name, array in arrays.items()}
        named = {name: part.pop(name) for name in kwargs if name in part}
        found.append((tuple(part.values()), named))
    return found


def _arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays in a file of numpy.savez or numpy.save.

    Raises:
        InputError: the file is neither.
    """
    try:
        content = np.load(path, allow_pickle=False)
        return {"": content} if isinstance(content, np.ndarray) else dict(content)
    except (ValueError, EOFError, zipfile.BadZipFile) as e:
        raise InputError(f"{path} is no file of arrays from numpy.savez or numpy.save: {e}") from e


def read_inputs(compiled: "Compiled", path: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments for a program from a file of numpy.savez or numpy.save; by keyword where it takes one of that name.

    Raises:
        InputError: the file is neither.
    """
    arrays = _arrays(path)
    kwargs = {name: arrays.pop(name) for name in compiled.signature.keywords if name in arrays}
    return tuple(arrays.values()), kwargs


def named_arrays(value: Any, path: str = "") -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Every array in a model's output, with its place."""
    if is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, (tuple, list)):
        value = dict(enumerate(value))
    if not isinstance(value, Mapping):
        yield path or "output", np.asarray(value)
        return
    for key, part in value.items():
        yield from named_arrays(part, f"{path}.{key}" if path else str(key))

"""One file for a compiled program: a zip of manifest, machine code and weights. Loading it needs no torch."""

import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy

import sparsecomp
from sparsecomp.errors import ArtifactError
from sparsecomp.memory_plan import MemoryPlan
from sparsecomp.report import Report
from sparsecomp.signature import Signature

if TYPE_CHECKING:
    from sparsecomp.runtime import Compiled, Library

FORMAT = "sparsecomp-program"
VERSION = 3  # 2: a batch may be cut into parts; 3: a program counts in its table
_MANIFEST, _LIBRARY, _WEIGHTS = "manifest.json", "library.so", "weights.safetensors"
_UNSTORABLE = {"bool": "uint8"}  # weights of these types are stored as another of the same width


def save(library: "Library", path: str | Path) -> None:
    """Write a program to ``path``: all of it, or, on any failure, nothing.

    Raises:
        ArtifactError: no C compiler, the program calls torch, or the file cannot be written.
    """
    path = Path(path)
    if library.report.callbacks:
        raise ArtifactError(
            f"save: the program calls custom operators of torch ({', '.join(library.report.callbacks)}), which a file "
            "cannot hold; give them a decomposition (CompositeImplicitAutograd), and they are compiled like all others"
        )
    try:
        if not path.parent.is_dir():
            raise ArtifactError(f"save: there is no directory {path.parent}; create it first")
        if path.is_dir():
            raise ArtifactError(f"save: {path} is a directory; name a file in it")
        with tempfile.TemporaryDirectory() as scratch:
            _write_whole(path, library, _link(library, Path(scratch) / _LIBRARY))
    except OSError as error:
        raise ArtifactError(f"save: {path} could not be written: {error}; nothing was left there") from error


def _link(library: "Library", path: Path) -> Path:
    from tvm.support import cc

    if library.code:
        path.write_bytes(library.code)
        return path
    target = library.target
    compiler = os.environ.get("CXX") or cc.get_cc() if _is_here(target) else f"{target.arch}-linux-gnu-g++"
    try:
        library.executable.export_library(str(path), fcompile=cc.cross_compiler(compiler or "c++"))
    except Exception as error:
        raise ArtifactError(
            f"save: linking needs a C compiler, and {compiler or 'none'} was found or failed ({error}); "
            "install gcc or clang, or name one in the environment variable CXX. Compiling and running need none."
        ) from error
    return path


def _is_here(target: Any) -> bool:
    from sparsecomp.targets import detect

    here = detect()
    return (target.arch, target.system) == (here.arch, here.system)


def _write_whole(path: Path, library: "Library", shared: Path) -> None:
    arrays, kept = _to_arrays(library.weights)
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "made_by": f"sparsecomp {sparsecomp.__version__}",
        "target": asdict(library.target),
        "signature": library.signature.to_dict(),
        "report": library.report.to_dict(),
        "copied": library.copied,
        "memory": library.plan and library.plan.to_dict(),
        "weights": [[name, kept[name]] for name in library.weights],
    }
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
                archive.writestr(_MANIFEST, json.dumps(manifest), zipfile.ZIP_DEFLATED)
                archive.write(shared, _LIBRARY)
                archive.writestr(_WEIGHTS, safetensors.numpy.save(arrays))
            file.flush()
            os.fsync(file.fileno())
        Path(draft).chmod(0o666 & ~_umask())
        Path(draft).replace(path)
    finally:
        Path(draft).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _to_arrays(weights: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    arrays, kept = {}, {}
    for name, weight in weights.items():
        array = np.ascontiguousarray(weight.detach().numpy() if hasattr(weight, "detach") else np.from_dlpack(weight))
        kept[name] = str(array.dtype)
        arrays[name] = array.view(_UNSTORABLE.get(kept[name], kept[name])).reshape(weight.shape)
    return arrays, kept


def load(path: str | Path) -> "Compiled":
    """Read a program that `Compiled.save` wrote.

    Args:
        path: the file.

    Returns:
        A program that takes and gives numpy arrays or torch tensors. Outputs of the model's own classes come back as
        dictionaries with attributes.

    Raises:
        ArtifactError: the file is missing, damaged, not ours, of a newer format, or made for another machine.
    """
    with _torch_kept_out():
        from sparsecomp.runtime import Compiled

        path = Path(path)
        try:
            with zipfile.ZipFile(path) as archive:
                library = _read(archive, path)
        except FileNotFoundError:
            raise ArtifactError(f"load: there is no file {path}") from None
        except (IsADirectoryError, PermissionError) as error:
            raise ArtifactError(f"load: {path} cannot be read: {error.strerror}; name a file that can") from None
        except ArtifactError:
            raise
        except (
            Exception
        ) as error:  # whatever is in the file: zip, JSON, weights and machine code all have errors of theirs
            raise ArtifactError(
                f"load: {path} is damaged or no sparsecomp program ({error}); save it again with Compiled.save"
            ) from error
        return Compiled(lambda _args, _kwargs: library)


def read_report(path: str | Path) -> Report:
    """The report in a saved program, whichever machine that is for; no machine code is loaded.

    Raises:
        ArtifactError: the file is missing, damaged or not ours.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = json.loads(archive.read(_MANIFEST))
            if manifest.get("format") != FORMAT:
                raise ValueError("its manifest is not ours")
            return Report.from_dict(manifest["report"])
    except FileNotFoundError:
        raise ArtifactError(f"inspect: there is no file {path}") from None
    except Exception as error:  # as in `load`
        raise ArtifactError(f"inspect: {path} is damaged or no sparsecomp program ({error})") from error


@contextmanager
def _torch_kept_out() -> Iterator[None]:
    """Without this, TVM's interface imports torch wherever it is installed: two seconds and 500 MB for nothing."""
    if "torch" in sys.modules or "tvm_ffi" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["torch"]


def _read(archive: zipfile.ZipFile, path: Path) -> "Library":
    from sparsecomp.runtime import Library
    from sparsecomp.targets import Target

    manifest = json.loads(archive.read(_MANIFEST))
    if manifest.get("format") != FORMAT:
        raise ValueError("its manifest is not ours")
    if manifest["version"] > VERSION:
        raise ArtifactError(
            f"load: {path} has format {manifest['version']}, written by {manifest['made_by']}; "
            f"this is sparsecomp {sparsecomp.__version__}, which reads up to format {VERSION}: upgrade it"
        )
    described = manifest["target"]
    target = Target(**{**described, "mattr": tuple(described["mattr"]), "bytes_per_s": tuple(described["bytes_per_s"])})
    _check_machine(target, path)
    code = archive.read(_LIBRARY)
    return Library(
        executable=None,
        module=_load_code(code),
        weights=_from_arrays(safetensors.numpy.load(archive.read(_WEIGHTS)), manifest["weights"]),
        signature=Signature.from_dict(manifest["signature"]),
        copied=tuple(manifest["copied"]),
        target=target,
        report=Report.from_dict(manifest["report"]),
        code=code,
        plan=MemoryPlan.from_dict(manifest["memory"]) if manifest.get("memory") else None,
    )


def _check_machine(target: Any, path: Path) -> None:
    from sparsecomp.targets import obstacle

    reason = obstacle(target)
    if reason is not None:
        raise ArtifactError(f"load: {path} was made for another machine: {reason}; compile for this one and save again")


def _load_code(code: bytes) -> Any:
    import tvm

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        file = Path(scratch) / _LIBRARY
        file.write_bytes(code)
        return tvm.runtime.load_module(str(file))


def _from_arrays(arrays: Mapping[str, Any], order: list[list[str]]) -> dict[str, Any]:
    return {name: arrays[name].view(dtype) for name, dtype in order}

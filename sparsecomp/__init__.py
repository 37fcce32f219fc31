"""sparsecomp: a compiler for sparse neural networks.

    compiled = sparsecomp.compile(model, "native", args)
    y = compiled(*args)

Nothing here imports torch or TVM before it is used: `load` must work where there is no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import sparsecomp.targets  # noqa: F401  now, so that no later import of the package hides the function of the same name
from sparsecomp.errors import (
    ArtifactError,
    CaptureError,
    InputError,
    LoweringError,
    PassError,
    SparsecompError,
    TargetError,
    UnsupportedOperatorError,
    VerificationError,
)

if TYPE_CHECKING:
    from sparsecomp.api import compile, targets
    from sparsecomp.artifact import load
    from sparsecomp.runtime import Compiled
    from sparsecomp.simplification import simplify
    from sparsecomp.targets import Target

__version__ = "0.1.0"

__all__ = [
    "ArtifactError",
    "CaptureError",
    "Compiled",
    "InputError",
    "LoweringError",
    "PassError",
    "SparsecompError",
    "Target",
    "TargetError",
    "UnsupportedOperatorError",
    "VerificationError",
    "compile",
    "load",
    "simplify",
    "targets",
]

_HOME = {
    "Compiled": "runtime",
    "Target": "targets.base",
    "compile": "api",
    "load": "artifact",
    "simplify": "simplification",
    "targets": "api",
}

del targets  # the module; the function comes from api when it is asked for


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sparsecomp' has no attribute {name!r}")
    return getattr(import_module(f"sparsecomp.{_HOME[name]}"), name)

"""sparsecomp: a compiler for sparse neural networks.

    compiled = sparsecomp.compile(model, "native", args)
    y = compiled(*args)

Nothing here imports torch or TVM before it is used: `load` must work where there is no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import sparsecomp.prune  # as the next
import sparsecomp.targets  # noqa: F401  now, so that no later import of the package hides the function of the same name
from sparsecomp.errors import (
    ArtifactError,
    CaptureError,
    InputError,
    LoweringError,
    PassError,
    PruneError,
    SparsecompError,
    TargetError,
    UnsupportedOperatorError,
    VerificationError,
)

if TYPE_CHECKING:
    from sparsecomp.api import compile, prune, targets
    from sparsecomp.artifact import load
    from sparsecomp.prune.result import Pruned
    from sparsecomp.prune.sensitivity import sensitivity
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
    "PruneError",
    "Pruned",
    "SparsecompError",
    "Target",
    "TargetError",
    "UnsupportedOperatorError",
    "VerificationError",
    "compile",
    "load",
    "prune",
    "sensitivity",
    "simplify",
    "targets",
]

_HOME = {
    "Compiled": "runtime",
    "Pruned": "prune.result",
    "Target": "targets.base",
    "compile": "api",
    "load": "artifact",
    "prune": "api",
    "sensitivity": "prune.sensitivity",
    "simplify": "simplification",
    "targets": "api",
}

del prune, targets  # the modules; the functions come from api when they are asked for


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sparsecomp' has no attribute {name!r}")
    return getattr(import_module(f"sparsecomp.{_HOME[name]}"), name)

"""sparsecomp: a compiler for sparse neural networks.

    compiled = sparsecomp.compile(model, "native", args)
    y = compiled(*args)

Nothing here imports torch or TVM before it is used: `load` must work where there is no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

# Now, so that no later import of these packages hides the functions of the same name.
import sparsecomp.inspect
import sparsecomp.prune
import sparsecomp.targets
import sparsecomp.tune  # noqa: F401
from sparsecomp.errors import (
    ArtifactError,
    CaptureError,
    InputError,
    LoweringError,
    PassError,
    PruneError,
    SparsecompError,
    TargetError,
    TuneError,
    UnsupportedOperatorError,
    VerificationError,
)

if TYPE_CHECKING:
    from sparsecomp import plot as plot
    from sparsecomp.api import compile, targets, tune
    from sparsecomp.artifact import load
    from sparsecomp.inspect.look import inspect
    from sparsecomp.profile import Profile
    from sparsecomp.prune.result import Pruned
    from sparsecomp.prune.sensitivity import sensitivity
    from sparsecomp.pruning import prune
    from sparsecomp.report import Report
    from sparsecomp.runtime import Compiled
    from sparsecomp.simplification import simplify
    from sparsecomp.targets import Target
    from sparsecomp.tune.report import TuneReport

__version__ = "0.1.0"

__all__ = [
    "ArtifactError",
    "CaptureError",
    "Compiled",
    "InputError",
    "LoweringError",
    "PassError",
    "Profile",
    "PruneError",
    "Pruned",
    "Report",
    "SparsecompError",
    "Target",
    "TargetError",
    "TuneError",
    "TuneReport",
    "UnsupportedOperatorError",
    "VerificationError",
    "compile",
    "inspect",
    "load",
    "prune",
    "sensitivity",
    "simplify",
    "targets",
    "tune",
]

_HOME = {
    "Compiled": "runtime",
    "Profile": "profile",
    "Pruned": "prune.result",
    "Report": "report",
    "Target": "targets.base",
    "compile": "api",
    "inspect": "inspect.look",
    "load": "artifact",
    "prune": "pruning",
    "sensitivity": "prune.sensitivity",
    "simplify": "simplification",
    "targets": "api",
    "tune": "api",
    "TuneReport": "tune.report",
}

del inspect, prune, targets, tune  # the packages; the functions come from api when they are asked for


def __getattr__(name: str) -> Any:
    if name == "plot":
        return import_module("sparsecomp.plot")
    if name not in _HOME:
        raise AttributeError(f"module 'sparsecomp' has no attribute {name!r}")
    return getattr(import_module(f"sparsecomp.{_HOME[name]}"), name)

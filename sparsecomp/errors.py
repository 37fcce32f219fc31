"""Every exception that sparsecomp raises on purpose: one base class, one subclass a stage.

A message names the stage, the node and the user's source line where there is one, and the way out.
"""


class SparsecompError(Exception):
    """Base of all errors that sparsecomp raises on purpose."""


class CaptureError(SparsecompError):
    """The model could not be captured as a graph."""


class PassError(SparsecompError):
    """A pass failed, or changed what the program computes."""


class PruneError(SparsecompError):
    """A model cannot be pruned as asked; nothing was changed."""


class LoweringError(SparsecompError):
    """The program could not be translated to TVM."""


class UnsupportedOperatorError(LoweringError):
    """Operators without a lowering; the message lists all of them at once."""


class TargetError(SparsecompError):
    """An unknown or unusable target."""


class InputError(SparsecompError):
    """A compiled program was called with inputs that it cannot take."""


class VerificationError(SparsecompError):
    """The compiled program computes something else than the model."""


class TuneError(SparsecompError):
    """Nothing could be measured, or measurements could not be kept."""


class ArtifactError(SparsecompError):
    """A saved program could not be written or read."""

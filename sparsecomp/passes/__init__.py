"""The passes, in the order in which they run."""

from sparsecomp.passes.canonicalize import Canonicalize
from sparsecomp.passes.driver import Pass, run
from sparsecomp.passes.eliminate_dead import EliminateDead
from sparsecomp.passes.expand_recurrent import ExpandRecurrent
from sparsecomp.passes.fold_batch_norm import FoldBatchNorm
from sparsecomp.passes.fold_constants import FoldConstants
from sparsecomp.passes.fold_scale import FoldScale
from sparsecomp.passes.fuse_epilogues import FuseEpilogues
from sparsecomp.passes.remove_dead_slices import RemoveDeadSlices
from sparsecomp.passes.rewrite_transposed_conv import RewriteTransposedConv

PIPELINE: tuple[Pass, ...] = (
    Canonicalize(),
    ExpandRecurrent(),
    FoldConstants(),
    FoldBatchNorm(),
    FoldScale(),
    RewriteTransposedConv(),
    EliminateDead(),
    RemoveDeadSlices(),
    Canonicalize(),
    FuseEpilogues(),
    EliminateDead(),
)

__all__ = [
    "PIPELINE",
    "Canonicalize",
    "EliminateDead",
    "ExpandRecurrent",
    "FoldBatchNorm",
    "FoldConstants",
    "FoldScale",
    "FuseEpilogues",
    "Pass",
    "RemoveDeadSlices",
    "RewriteTransposedConv",
    "run",
]

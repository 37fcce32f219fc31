"""The passes, in the order in which they run."""

from sparsecomp.passes.canonicalize import Canonicalize
from sparsecomp.passes.driver import Pass, run
from sparsecomp.passes.eliminate_dead import EliminateDead
from sparsecomp.passes.expand_recurrent import ExpandRecurrent
from sparsecomp.passes.fold_batch_norm import FoldBatchNorm
from sparsecomp.passes.fold_constants import FoldConstants
from sparsecomp.passes.fold_scale import FoldScale
from sparsecomp.passes.fuse_epilogues import FuseEpilogues
from sparsecomp.passes.mix_before_upsampling import MixBeforeUpsampling
from sparsecomp.passes.remove_dead_slices import RemoveDeadSlices
from sparsecomp.passes.rewrite_transposed_conv import RewriteTransposedConv
from sparsecomp.passes.split_batch import SplitBatch
from sparsecomp.targets.base import Target

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
    MixBeforeUpsampling(),
    SplitBatch(),
    FuseEpilogues(),
    EliminateDead(),
)
MOST_ROOM = 16 * 1024 * 1024  # what a larger last cache leaves to one program is not known


def pipeline(target: Target) -> tuple[Pass, ...]:
    """`PIPELINE`, where parts of a batch leave half of the device's last cache to others."""
    split = SplitBatch(min(target.l3_bytes // 2, MOST_ROOM))
    return tuple(split if isinstance(each, SplitBatch) else each for each in PIPELINE)


__all__ = [
    "PIPELINE",
    "Canonicalize",
    "EliminateDead",
    "ExpandRecurrent",
    "FoldBatchNorm",
    "FoldConstants",
    "FoldScale",
    "FuseEpilogues",
    "MixBeforeUpsampling",
    "Pass",
    "RemoveDeadSlices",
    "RewriteTransposedConv",
    "SplitBatch",
    "pipeline",
    "run",
]

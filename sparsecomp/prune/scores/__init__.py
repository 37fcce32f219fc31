"""Scores: what it costs to zero a weight. ``SCORES`` holds those that have a name; any `Score` of your own will do."""

from sparsecomp.errors import PruneError
from sparsecomp.prune.scores.activation import Apoz, Reconstruction, Variance, Wanda
from sparsecomp.prune.scores.base import Score, Solver, Task
from sparsecomp.prune.scores.fisher import ObdFisher, WoodFisher
from sparsecomp.prune.scores.gradient import Grasp, Snip, Taylor
from sparsecomp.prune.scores.magnitude import Magnitude, Random
from sparsecomp.prune.scores.sparsegpt import SparseGPT
from sparsecomp.prune.scores.synflow import SynFlow

__all__ = ["SCORES", "Score", "Solver", "Task", "parse_score"]

SCORES: dict[str, Score] = {
    "random": Random(),
    "magnitude": Magnitude(),
    "magnitude-l2": Magnitude(power=2),
    "wanda": Wanda(),
    "apoz": Apoz(),
    "variance": Variance(),
    "reconstruction": Reconstruction(),
    "sparsegpt": SparseGPT(),
    "taylor": Taylor(),
    "taylor-squared": Taylor(power=2),
    "snip": Snip(),
    "grasp": Grasp(),
    "synflow": SynFlow(),
    "obd": ObdFisher(),
    "woodfisher": WoodFisher(),
}


def parse_score(score: str | Score) -> Score:
    """The score that a name stands for.

    Raises:
        PruneError: there is none; the message lists those there are.
    """
    if isinstance(score, Score):
        return score
    if score not in SCORES:
        raise PruneError(f"prune: no score {score!r}; there are: {', '.join(SCORES)}, or a Score of your own")
    return SCORES[score]

"""The curvature of one layer's squared error: its Gram matrix, damped and inverted."""

from collections.abc import Mapping

import torch
from torch import Tensor

from sparsecomp.prune.weights import Weight

LIMIT = 512 << 20
"""Bytes of Gram matrices held at once; more layers are served by running the data again."""


def gram_bytes(weights: Mapping[str, Weight]) -> dict[str, int]:
    """Bytes of the Gram matrix of the inputs of each weight."""
    return {name: 4 * weight.groups * (weight.size // weight.outputs) ** 2 for name, weight in weights.items()}


def damped(gram: Tensor, damping: float) -> Tensor:
    """``gram`` in float64 with ``damping`` times its mean diagonal added; features that are always zero get a 1.

    Without the 1 the matrix of a dead feature has no inverse; weights of such a feature do not matter.
    """
    matrix = gram.double()
    diagonal = matrix.diagonal()
    dead = diagonal == 0
    mean = float(diagonal.mean())
    return matrix + torch.diag(torch.where(dead, torch.ones_like(diagonal), torch.full_like(diagonal, damping * mean)))


def inverse(gram: Tensor, damping: float) -> Tensor:
    """The inverse of the damped matrix, float64; damping grows tenfold until there is one.

    ``gram`` must be finite, as `collect` makes sure: nothing makes a matrix with NaN definite.
    """
    while True:
        factor, fault = torch.linalg.cholesky_ex(damped(gram, damping))
        if not int(fault):
            return torch.cholesky_inverse(factor)
        damping = max(damping * 10, 1e-8)

"""How sparse, how large, how much work: the numbers of Hoefler et al. (arXiv 2102.00554), sections 2.2 and 8.

Sizes are in bits, exact for the formats that they describe: ``n`` positions, ``m`` nonzeros, ``k`` bits a value. Work
is counted in multiply-adds; twice that are FLOPs in the convention of two operations.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Sizes:
    """Bits of one tensor in every storage format; ``best`` is the smallest."""

    dense: int
    bitmap: int
    delta: int
    coo: int
    csr: int
    csc: int
    csr32: int
    bound: float

    @property
    def best(self) -> tuple[str, int]:
        """Name and bits of the smallest format; the entropy bound is none."""
        found = {name: bits for name, bits in vars(self).items() if name != "bound"}
        name = min(found, key=lambda each: found[each])
        return name, found[name]


def sizes(tensor: Tensor, bits: int = 32) -> Sizes:
    """Bits that a tensor takes in each format, by its actual zeros. It is a matrix of its first axis by the rest."""
    flat = tensor.flatten() != 0
    n, m = flat.numel(), int(flat.sum())
    rows = tensor.shape[0] if tensor.dim() > 1 else 1
    return Sizes(
        dense=n * bits,
        bitmap=n + m * bits,
        delta=delta_bits(flat, bits),
        coo=m * (bits + _log2(n)),
        csr=csr_bits(n, m, rows, bits),
        csc=csr_bits(n, m, n // max(rows, 1), bits),
        csr32=m * (bits + 32) + (rows + 1) * 32,
        bound=n * entropy(m / max(n, 1)) + m * bits,
    )


def csr_bits(n: int, m: int, rows: int, bits: int) -> int:
    """Values, column numbers of ``ceil(log2 columns)`` bits and row pointers of ``ceil(log2 m)``."""
    return m * (bits + _log2(n // max(rows, 1))) + rows * _log2(m)


def delta_bits(nonzero: Tensor, bits: int) -> int:
    """Gaps of ``b`` bits with explicit zeros where a gap is longer than ``2^b``, at the best ``b``.

    Args:
        nonzero: bool, flat.
        bits: of a value.
    """
    places = nonzero.nonzero().flatten()
    if not len(places):
        return 0
    gaps = torch.diff(places, prepend=torch.tensor([-1])) - 1  # zeros before each nonzero
    counts = torch.bincount(gaps)  # how often each gap occurs: few differ
    lengths = torch.arange(len(counts))
    return min((len(places) + int(((lengths >> b) * counts).sum())) * (bits + b) for b in range(1, 33))


def nm_bits(n: int, group: tuple[int, int], bits: int) -> int:
    """An N:M pattern: values and ``ceil(log2 m)`` bits for the place of each."""
    kept = n * group[0] // group[1]
    return kept * (bits + _log2(group[1]))


def strided_bits(n: int, kept: int, bits: int) -> int:
    """Nonzeros at every so manieth position: values, the first position and the stride."""
    return kept * bits + 2 * _log2(n)


def block_bits(tensor: Tensor, block: tuple[int, int], bits: int = 32) -> int:
    """Bits in compressed sparse row format over blocks; zeros inside of a block that is stored count as values."""
    matrix = tensor.reshape(tensor.shape[0], -1) != 0
    rows, columns = matrix.shape[0] // block[0], matrix.shape[1] // block[1]
    stored = int(matrix.reshape(rows, block[0], columns, block[1]).any(dim=3).any(dim=1).sum())
    return stored * (block[0] * block[1] * bits + _log2(columns)) + rows * _log2(stored)


def entropy(density: float) -> float:
    """``H2(d)``, the least bits a position that say where the nonzeros are."""
    return sum(-p * math.log2(p) for p in (density, 1 - density) if p > 0)


def crossovers(bits: int, n: int, columns: int, gap_bits: int = 4, block: int = 4) -> dict[str, float]:
    """Densities below which a format is smaller than another (survey, section 2.2), positions uniformly random.

    Args:
        bits: of a value.
        n: positions.
        columns: of the matrix.
        gap_bits: of a gap of the delta format, long enough that few explicit zeros are needed.
        block: entries of a block in the block format, which stores 32 bits of place for each (``bsr32``).
    """
    return {
        "bitmap < dense": 1 - 1 / bits,
        "delta < bitmap": 1 / gap_bits,
        "coo < bitmap": 1 / _log2(n),
        "csr < bitmap": 1 / _log2(columns),
        "csr16 < dense": bits / (bits + 16),
        "csr32 < dense": bits / (bits + 32),
        "bsr32 < dense": bits / (bits + 32 / block),
    }


def _log2(count: int) -> int:
    """Bits that tell ``count`` things apart."""
    return max(1, (count - 1).bit_length()) if count > 1 else 0


def nonzeros(model: nn.Module) -> tuple[int, int]:
    """Nonzero and all parameters of a model, each counted once."""
    parameters = list(model.parameters())
    return sum(int(torch.count_nonzero(p)) for p in parameters), sum(p.numel() for p in parameters)


@dataclass(frozen=True)
class Work:
    """Multiply-adds of one call.

    Attributes:
        dense: as if no weight were zero.
        sparse: with nonzero weights only, the theoretical limit.
        executed: what the chosen kernels compute, where they were chosen; stored zeros count.
    """

    dense: int
    sparse: int
    executed: int | None = None

    @property
    def speedup(self) -> float:
        """Theoretical: dense over sparse work."""
        return self.dense / max(self.sparse, 1)

    def realised(self, dense_seconds: float, sparse_seconds: float) -> float:
        """Which share of the theoretical speed-up was measured: ``(t_dense / t_sparse) * (sparse / dense)``."""
        return dense_seconds / sparse_seconds / self.speedup


def work(weights: Mapping[str, Tensor], uses: Mapping[str, int], stored: Mapping[str, float] | None = None) -> Work:
    """Multiply-adds of the weights of a model.

    Args:
        weights: by name.
        uses: how often each weight is used in one call (rows of the input, pixels of the output).
        stored: share of each weight that its kernel computes with; None if nothing is known of kernels.
    """
    dense = sum(weight.numel() * uses[name] for name, weight in weights.items())
    sparse = sum(int(torch.count_nonzero(weight)) * uses[name] for name, weight in weights.items())
    if stored is None:
        return Work(dense, sparse)
    executed = sum(weight.numel() * stored.get(name, 1.0) * uses[name] for name, weight in weights.items())
    return Work(dense, sparse, round(executed))


def accuracy_density(accuracy: float, parameters: int) -> float:
    """Accuracy in per cent over millions of (nonzero) parameters (Bianco et al. 2018). It rewards tiny, bad models."""
    return 100 * accuracy / (parameters / 1e6)


def parameter_efficiency(accuracy: float, parameters: int, base: float = math.e) -> float:
    """Accuracy in per cent over the logarithm of the nonzero parameters, normalised by hardness.

    More accuracy costs exponentially more parameters, which this accounts for. The form follows the survey's section
    8.7 as remembered; the base of the logarithm there is not known to us, so it is an option.
    """
    return 100 * accuracy / math.log(parameters, base)


@dataclass(frozen=True)
class Flow:
    """What is broken in a pruned network.

    Attributes:
        empty: weights without any nonzero: the layer has collapsed.
        silent: by weight, outputs that no input reaches.
        unread: by weight, inputs that no output reads.
    """

    empty: tuple[str, ...]
    silent: Mapping[str, int]
    unread: Mapping[str, int]


def flow(weights: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]]) -> Flow:
    """Find collapsed layers and disconnected units; weights are ``[outputs, inputs, ...]``."""
    empty, silent, unread = [], {}, {}
    for name, weight in dict(weights).items():
        present = weight.reshape(weight.shape[0], weight.shape[1], -1).ne(0).any(dim=2)
        if not bool(present.any()):
            empty.append(name)
        if lost := int((~present.any(dim=1)).sum()):
            silent[name] = lost
        if lost := int((~present.any(dim=0)).sum()):
            unread[name] = lost
    return Flow(tuple(empty), silent, unread)

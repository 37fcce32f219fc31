"""Places for intermediate values in one buffer: those that are needed at the same time do not overlap."""

from collections.abc import Sequence
from dataclasses import dataclass

from sparsecomp.kernels.emit import spread


@dataclass
class Buffer:
    """Memory that calls of kernels read and write.

    Attributes:
        size: in bytes, a whole number of cache lines.
        first, last: the first and the last call that needs it.
    """

    size: int
    first: int
    last: int

    def meets(self, other: "Buffer") -> bool:
        """Whether a call needs both, or one after and one before."""
        return self.first <= other.last and other.first <= self.last


def arrange(buffers: Sequence[Buffer]) -> tuple[list[int], int]:
    """At which byte each buffer begins, and how many bytes all of them take.

    The largest come first, each at the first place that is free while it is needed ("greedy by size" of Pisarchyk and
    Lee, Efficient Memory Management for Deep Neural Net Inference, arXiv 2001.03288). Each is followed by a cache line
    where its size is an even number of them: values that are read together and begin a multiple of a page apart would
    be in the same sets of the cache.
    """
    starts = [0] * len(buffers)
    placed: list[int] = []
    for index in sorted(range(len(buffers)), key=lambda each: -buffers[each].size):
        mine = buffers[index]
        for other in sorted((each for each in placed if mine.meets(buffers[each])), key=lambda each: starts[each]):
            if starts[index] + mine.size <= starts[other]:
                break
            starts[index] = max(starts[index], starts[other] + 4 * spread(buffers[other].size // 4))
        placed.append(index)
    return starts, max((start + buffer.size for start, buffer in zip(starts, buffers, strict=True)), default=0)

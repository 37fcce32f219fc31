"""What memory a program needs that is one function, see `sparsecomp.lower.whole`. Needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WHOLE = "whole"  # the name of the function
ALIGNMENT = 64  # bytes; compiled code loads and stores whole vectors
ENTRY = 16  # bytes of an entry of the table, as of TVM's values


@dataclass(frozen=True)
class MemoryPlan:
    """The memory of the function ``(inputs..., table, results...)``.

    Its table has the addresses of the weights and, after them, of the intermediate values; all other entries are zero
    before the first call, and the function's own.

    Attributes:
        size: bytes of the buffer that all intermediate values share.
        places: where in it each of them begins.
        results: shape and type of each result.
        entries: of the table.
    """

    size: int
    places: tuple[int, ...]
    results: tuple[tuple[tuple[int, ...], str], ...]
    entries: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {"size": self.size, "places": self.places, "results": self.results, "entries": self.entries}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "MemoryPlan":
        """The inverse of ``to_dict``, also after JSON."""
        results = tuple((tuple(shape), dtype) for shape, dtype in values["results"])
        return MemoryPlan(values["size"], tuple(values["places"]), results, values.get("entries", 0))

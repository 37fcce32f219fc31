"""What is known of a tensor whatever the input is: which slices are constant, which are equal.

Facts are kept for one axis at a time. A *slice* is what is left of the tensor when the index on that axis is fixed,
such as one channel of an image or one row of a weight. ``None`` in place of `AxisFacts` means that nothing is known.

Two conventions hold everywhere. Zero is one number: ``-0.0`` and ``0.0`` are the same constant, since masks leave
both. A constant holds up to rounding: folding ``w * c`` at compile time rounds differently from the kernel that
would have computed it. A slice is never claimed constant where its value is NaN.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_ELEMENTS_AT_ONCE = 1 << 22
_SAMPLE = 32  # so many elements of a slice tell most slices apart
_INTEGER_OF_SIZE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True, eq=False)
class AxisFacts:
    """Facts of the slices along one axis of ``n`` slices, in canonical form (see `of`).

    Attributes:
        constant: bool, ``(n,)``; every element of the slice is ``value``.
        value: ``(n,)`` in the dtype of the tensor; 0 where not constant.
        classes: int64, ``(n,)``; the smallest index of a slice that is equal to this one.
    """

    constant: Tensor
    value: Tensor
    classes: Tensor

    @staticmethod
    def of(constant: Tensor, value: Tensor, labels: Tensor | None = None) -> "AxisFacts":
        """Canonical facts: slices with equal ``labels`` (or rows of them) or equal constants form one class."""
        size = constant.numel()
        classes = torch.arange(size) if labels is None else canonical(labels)
        value = torch.where(constant, value, torch.zeros_like(value))
        value = value + torch.zeros_like(value) if value.dtype != torch.bool else value
        constant = constant & ~value.isnan()
        constant, value = _spread(constant, value, classes)
        if bool(constant.any()):
            numbers = torch.unique(value, return_inverse=True)[1]
            classes = canonical(torch.where(constant, size + numbers, classes))
        return AxisFacts(constant, value, classes)

    @staticmethod
    def unknown(size: int, dtype: torch.dtype) -> "AxisFacts":
        """Nothing is constant, nothing is equal."""
        return AxisFacts(torch.zeros(size, dtype=torch.bool), torch.zeros(size, dtype=dtype), torch.arange(size))

    @staticmethod
    def of_tensor(tensor: Tensor, axis: int) -> "AxisFacts":
        """All facts of a tensor whose elements are known."""
        rows = tensor.detach().movedim(axis, 0).reshape(tensor.shape[axis], -1)
        if rows.numel() == 0 or rows.is_complex():
            return AxisFacts.unknown(rows.shape[0], tensor.dtype)
        low, high = torch.aminmax(rows[:, :_SAMPLE], dim=1)
        constant = low == high
        if rows.shape[1] > _SAMPLE and bool(constant.any()):
            maybe = constant.nonzero().flatten()
            low[maybe], high[maybe] = torch.aminmax(rows[maybe], dim=1)
            constant = low == high
        return AxisFacts.of(constant, low, row_classes(rows))

    @property
    def size(self) -> int:
        """How many slices there are."""
        return self.constant.numel()

    @property
    def zero(self) -> Tensor:
        """The slices that are known to be zero."""
        return self.constant & (self.value == 0)

    def says_something(self) -> bool:
        """Whether any slice is constant or equal to another."""
        return bool(self.constant.any()) or bool((self.classes != torch.arange(self.size)).any())

    def take(self, index: Tensor) -> "AxisFacts":
        """Facts of a tensor made of the slices ``index`` of this one."""
        return AxisFacts.of(self.constant[index], self.value[index], self.classes[index])

    def meet(self, other: "AxisFacts") -> "AxisFacts":
        """What both say: true of a slice that comes from either of two tensors."""
        constant = self.constant & other.constant & (self.value == other.value)
        return AxisFacts.of(constant, self.value, torch.stack((self.classes, other.classes), dim=1))

    def implies(self, other: "AxisFacts") -> bool:
        """Whether all that ``other`` claims follows from these facts (the order of the lattice)."""
        same_constants = self.constant & (self.value == other.value)
        follows = bool((same_constants | ~other.constant).all())
        return follows and torch.equal(self.classes[other.classes], self.classes)

    def uniform(self) -> Tensor | None:
        """The one value (0-d) of the whole tensor, if all of its slices are the same constant."""
        if self.size and bool(self.constant.all()) and bool((self.classes == 0).all()):
            return self.value[0]
        return None


TensorFacts = tuple[AxisFacts | None, ...]


def canonical(labels: Tensor) -> Tensor:
    """For each label (or row of labels) the smallest index that carries the same one."""
    size = labels.shape[0]
    numbers = torch.zeros(size, dtype=torch.int64)
    for column in (labels if labels.dim() == 2 else labels[:, None]).unbind(dim=1):
        distinct, place = torch.unique(column, return_inverse=True)
        numbers = torch.unique(numbers * len(distinct) + place, return_inverse=True)[1]
    first = torch.full((size,), size, dtype=torch.int64)
    first.scatter_reduce_(0, numbers, torch.arange(size), reduce="amin")
    return first[numbers]


def row_classes(rows: Tensor) -> Tensor:
    """For each row of a matrix the smallest index of an equal row. Rows with NaN equal nothing."""
    size, width = rows.shape
    if width == 0:
        return torch.zeros(size, dtype=torch.int64)
    classes = canonical(_row_hashes(rows[:, :_SAMPLE]))
    if width > _SAMPLE:
        alike = (torch.bincount(classes, minlength=size)[classes] > 1).nonzero().flatten()
        classes = torch.arange(size)
        classes[alike] = alike[canonical(_row_hashes(rows[alike]))]
    merged = (classes != torch.arange(size)).nonzero().flatten()
    differs = merged[(rows[merged] != rows[classes[merged]]).sum(dim=1) > 0]
    classes[differs] = differs
    return classes


def _row_hashes(rows: Tensor) -> Tensor:
    """Numbers that are equal for equal rows, and seldom otherwise."""
    integer = _INTEGER_OF_SIZE[rows.element_size()]
    wide = torch.int64 if integer == torch.int64 else torch.int32
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**30), 2**30, (rows.shape[1],), generator=generator, dtype=wide)
    step = max(1, _ELEMENTS_AT_ONCE // rows.shape[1])
    hashes = []
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        unsigned_zero = block + torch.zeros((), dtype=block.dtype) if block.dtype != torch.bool else block
        bits = unsigned_zero.contiguous().view(integer).to(wide)
        hashes.append((bits * factors).sum(dim=1, dtype=wide))
    return torch.cat(hashes) if hashes else torch.zeros(0, dtype=wide)


def _spread(constant: Tensor, value: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """A slice that equals a constant slice is that constant."""
    if not bool(constant.any()):
        return constant, value
    known = constant.nonzero().flatten()
    class_constant = torch.zeros_like(constant)
    class_value = torch.zeros_like(value)
    class_constant[classes[known]] = True
    class_value[classes[known]] = value[known]
    return class_constant[classes], class_value[classes]

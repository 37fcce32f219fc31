"""What a compiled program takes and gives, as data; and the check of a call against it. Needs neither torch nor tvm."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from sparsecomp.errors import InputError
from sparsecomp.structure import Structure, builder, flatten

Dim = int | str
"""A size: a number, the name of a symbol (``"s0"``), or an expression of symbols (``"2*s0"``)."""


@dataclass(frozen=True)
class Input:
    """One flat input: a tensor (``dtype`` and ``shape``) or a value that was fixed when the model was captured.

    Attributes:
        name: what the model calls it.
        dtype: name of the element type, empty for a fixed value.
        shape: its sizes.
        value: the fixed value, if it is no tensor.
    """

    name: str
    dtype: str = ""
    shape: tuple[Dim, ...] = ()
    value: bool | int | float | str | None = None

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"
            if self.dtype
            else f"{self.name}: {self.value!r}"
        )


@dataclass(frozen=True)
class Output:
    """One flat output: the index of the result that holds it, or a plain value that does not depend on the inputs."""

    index: int | None
    value: bool | int | float | str | None = None


@dataclass(frozen=True)
class Parts:
    """A batch that is computed in equal parts, one after the other; the results are joined along their first axis.

    Attributes:
        count: how many parts; 1: the whole at once.
        inputs: indices of the flat inputs that are cut along their first axis; each part gets all of the others.
    """

    count: int = 1
    inputs: tuple[int, ...] = ()

    def cut(self, leaves: Sequence[Any]) -> Iterator[list[Any]]:
        """The flat inputs of each part."""
        if self.count == 1:
            yield list(leaves)
            return
        for part in range(self.count):
            yield [_share(leaf, part, self.count) if i in self.inputs else leaf for i, leaf in enumerate(leaves)]


def _share(leaf: Any, part: int, count: int) -> Any:
    size = leaf.shape[0] // count
    return leaf[part * size : (part + 1) * size]


WHOLE = Parts()


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a program.

    Attributes:
        parameters: the names of the positional parameters of the model, in order.
        positional: how many of them the captured call passed by position.
        keywords: the names that it passed by keyword.
        inputs: the flat inputs, positional before keyword.
        structure: how they nest, for ``(args, kwargs)``.
        outputs: the flat outputs.
        output_structure: how they nest.
        ranges: the smallest and largest value of each symbol.
        parts: how the batch is cut; ``inputs`` has the shapes of the whole.
    """

    parameters: tuple[str, ...]
    positional: int
    keywords: tuple[str, ...]
    inputs: tuple[Input, ...]
    structure: Structure
    outputs: tuple[Output, ...]
    output_structure: Structure
    ranges: Mapping[str, tuple[int, int | None]]
    parts: Parts = WHOLE

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Signature":
        """The inverse of `to_dict`, also after a round trip through JSON."""
        return Signature(
            parameters=tuple(data["parameters"]),
            positional=data["positional"],
            keywords=tuple(data["keywords"]),
            inputs=tuple(Input(**{**item, "shape": tuple(item["shape"])}) for item in data["inputs"]),
            structure=data["structure"],
            outputs=tuple(Output(**item) for item in data["outputs"]),
            output_structure=data["output_structure"],
            ranges={name: (low, high) for name, (low, high) in data["ranges"].items()},
            parts=Parts(data["parts"]["count"], tuple(data["parts"]["inputs"])) if "parts" in data else WHOLE,
        )

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.inputs))})"

    def flatten(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        """The flat inputs of a call, each checked.

        An input that was captured by position may come by keyword, and the other way round.

        Raises:
            InputError: number, names, structure, type or shape of the inputs differ; says what was expected.
        """
        if len(args) != self.positional or tuple(kwargs) != self.keywords:
            args, kwargs = self._rearrange(args, kwargs)
        try:
            leaves = flatten((tuple(args), dict(kwargs)), self.structure)
        except ValueError as error:
            raise InputError(f"call: {error}; expected {self}") from None
        symbols: dict[str, int] = {}
        for leaf, expected in zip(leaves, self.inputs, strict=True):
            _check(leaf, expected)
            _bind(leaf, expected, symbols, self.ranges)
        if symbols:
            _check_expressions(leaves, self.inputs, symbols)
        return leaves

    def _rearrange(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        given = {**dict(zip(self.parameters, args, strict=False)), **kwargs}
        positional = self.parameters[: self.positional]
        known = {*positional, *self.keywords}
        if len(args) + len(kwargs) != len(known) or set(given) != known:
            unknown = [name for name in kwargs if name not in known]
            raise InputError(
                f"call: expected {len(known)} inputs {self}, got {len(args)} by position and "
                f"{list(kwargs) or 'none'} by keyword{f'; unknown: {unknown}' if unknown else ''}"
            )
        return [given[name] for name in positional], {name: given[name] for name in self.keywords}

    def leaves(self, results: Sequence[Any]) -> list[Any]:
        """The flat outputs, from the results of the program."""
        return [item.value if item.index is None else results[item.index] for item in self.outputs]

    def outputs_by(self, assemble: Callable[[Sequence[Any]], Any] | None = None) -> Callable[[Sequence[Any]], Any]:
        """What makes the outputs from the results: in the model's own classes by ``assemble``, else with `Record`."""
        make = builder(self.output_structure) if assemble is None else assemble
        in_order = [item.index for item in self.outputs] == list(range(len(self.outputs)))
        return make if in_order else lambda results: make(self.leaves(results))


def _check(leaf: Any, expected: Input) -> None:
    """Type, rank and fixed sizes of one input."""
    if not expected.dtype:
        if hasattr(leaf, "shape") or leaf != expected.value:
            raise InputError(
                f"call: input {expected.name} was fixed to {expected.value!r} when the model was captured, "
                f"got {leaf!r}; compile again for another value"
            )
        return
    shape = getattr(leaf, "shape", None)
    if shape is None or not hasattr(leaf, "__dlpack__"):
        raise InputError(
            f"call: input {expected.name} must be a torch tensor or numpy array ({expected}), got {type(leaf).__name__}"
        )
    if not getattr(leaf, "is_cpu", True):
        raise InputError(f"call: input {expected.name} is on {leaf.device}, expected the cpu; use .cpu()")
    dtype = str(leaf.dtype).removeprefix("torch.")
    if dtype != expected.dtype:
        raise InputError(f"call: input {expected.name} has dtype {dtype}, expected {expected.dtype}; convert it first")
    if len(shape) != len(expected.shape):
        raise InputError(f"call: input {expected.name} has rank {len(shape)} {tuple(shape)}, expected {expected}")
    for axis, (size, dim) in enumerate(zip(shape, expected.shape, strict=True)):
        if size != dim and not isinstance(dim, str):
            raise _wrong_size(expected, axis, size, dim)


def _bind(leaf: Any, expected: Input, symbols: dict[str, int], ranges: Mapping[str, tuple[int, int | None]]) -> None:
    """Give each symbol the size that it has in this call; the first input that has it decides."""
    for axis, dim in enumerate(expected.shape):
        if not isinstance(dim, str) or not dim.isidentifier():
            continue
        size = int(leaf.shape[axis])
        low, high = ranges.get(dim, (0, None))
        if size < low or (high is not None and size > high):
            raise _wrong_size(expected, axis, size, f"at least {low}" if high is None else f"{low} to {high}")
        if symbols.setdefault(dim, size) != size:
            raise _wrong_size(expected, axis, size, f"{symbols[dim]}, as {dim} is elsewhere")


def _check_expressions(leaves: Sequence[Any], inputs: Sequence[Input], symbols: dict[str, int]) -> None:
    """Sizes such as ``2*s0``. One whose symbol is no size of any input alone is left to the program to check."""
    for leaf, expected in zip(leaves, inputs, strict=True):
        for axis, dim in enumerate(expected.shape):
            if isinstance(dim, str) and not dim.isidentifier():
                with suppress(NameError):
                    wanted = int(eval(dim, {"__builtins__": {}}, dict(symbols)))  # we made it: + - * // of symbols
                    if leaf.shape[axis] != wanted:
                        raise _wrong_size(expected, axis, leaf.shape[axis], f"{wanted} = {dim}")


def _wrong_size(expected: Input, axis: int, size: int, wanted: object) -> InputError:
    return InputError(f"call: input {expected.name} has size {size} on axis {axis}, expected {wanted} ({expected})")

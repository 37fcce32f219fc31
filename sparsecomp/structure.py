"""Nested containers as data: which leaf stands where in tuples, lists, dicts and records.

A saved program keeps the structure of its inputs and outputs as JSON, so that it can be called, and answers, without
the classes of the model.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import count
from typing import Any

Structure = Any
"""``None`` for a leaf; else ``{"tuple": [...]}``, ``{"list": [...]}``, ``{"dict": [[key, ...]]}``, ``{"record": [[name,
...]]}``, or ``{"none": []}`` for a None, which holds no leaf (an optional field of a dataclass)."""


class Record(dict[str, Any]):
    """The fields of a model's own output class (a dataclass, a named tuple ...): by name, by attribute."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(f"no field {name!r}; there are {', '.join(self) or 'none'}")


def describe(value: Any) -> Structure:
    """The structure of a value; whatever is neither a container nor None is a leaf."""
    if value is None:
        return {"none": []}
    if isinstance(value, dict) and type(value) is dict:
        return {"dict": [[key, describe(item)] for key, item in value.items()]}
    if type(value) in (tuple, list):
        return {type(value).__name__: [describe(item) for item in value]}
    names = _field_names(value)
    if names is None:
        return None
    items = value if isinstance(value, Mapping) else {name: getattr(value, name) for name in names}
    return {"record": [[name, describe(items[name])] for name in names]}


def _field_names(value: Any) -> list[str] | None:
    if isinstance(value, Mapping):  # a dataclass that is a mapping lists only the fields that are set
        return [str(key) for key in value]
    if is_dataclass(value) and not isinstance(value, type):
        return [field.name for field in fields(value)]
    return list(value._fields) if isinstance(value, tuple) and hasattr(value, "_fields") else None


def flatten(value: Any, structure: Structure) -> list[Any]:
    """The leaves of ``value``.

    Raises:
        ValueError: ``value`` has another structure; the message says where.
    """
    return list(_leaves(value, structure, ""))


def _leaves(value: Any, structure: Structure, path: str) -> Iterator[Any]:
    if structure is None:
        yield value
        return
    ((kind, children),) = structure.items()
    items = _children(value, kind, children, path)
    for key, item, child in items:
        yield from _leaves(item, child, f"{path}[{key!r}]")


def _children(value: Any, kind: str, children: Sequence[Any], path: str) -> list[tuple[Any, Any, Structure]]:
    if kind == "none":
        if value is not None:
            raise ValueError(f"{path or 'the inputs'}: expected None, got {_name(value)}")
        return []
    if kind in ("tuple", "list"):
        if not isinstance(value, tuple | list) or len(value) != len(children):
            raise ValueError(f"{path or 'the inputs'}: expected a {kind} of {len(children)}, got {_name(value)}")
        return [(index, item, child) for index, (item, child) in enumerate(zip(value, children, strict=True))]
    keys = [key for key, _ in children]
    items = value
    if kind == "record" and not isinstance(value, Mapping):
        items = {key: getattr(value, key) for key in keys if hasattr(value, key)}
    if not isinstance(items, Mapping) or set(items) != set(keys):
        raise ValueError(f"{path or 'the inputs'}: expected the keys {keys}, got {_name(value)}")
    return [(key, items[key], child) for key, child in children]


def is_plain(structure: Structure) -> bool:
    """Whether there is no record in it."""
    if structure is None:
        return True
    ((kind, children),) = structure.items()
    return kind != "record" and all(is_plain(each[1] if kind == "dict" else each) for each in children)


def builder(structure: Structure) -> Callable[[Sequence[Any]], Any]:
    """What makes a value of this structure from a sequence of its leaves; records come back as `Record`.

    It is one compiled expression: in cold caches each other step of Python takes microseconds.
    """
    names: dict[str, Any] = {"Record": Record}
    made: Callable[[Sequence[Any]], Any] = eval(f"lambda leaves: {_expression(structure, count(), names)}", names)
    return made


def _expression(structure: Structure, places: Iterator[int], names: dict[str, Any]) -> str:
    """Source that makes the value from ``leaves``; it calls each key by a name."""
    if structure is None:
        return f"leaves[{next(places)}]"
    ((kind, children),) = structure.items()
    if kind == "none":
        return "None"
    if kind in ("tuple", "list"):
        items = "".join(f"{_expression(child, places, names)}, " for child in children)
        return f"[{items}]" if kind == "list" else f"({items})"
    items = ""
    for key, child in children:
        name = f"key{len(names)}"
        names[name] = key
        items += f"{name}: {_expression(child, places, names)}, "
    return f"Record({{{items}}})" if kind == "record" else f"{{{items}}}"


def _name(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"the keys {list(value)}"
    size = f" of {len(value)}" if isinstance(value, tuple | list) else ""
    return f"a {type(value).__name__}{size}"

"""Real sentences that every Python installation has: the documentation strings of its standard library."""

import ast
import random
import re
import sysconfig
from functools import cache
from pathlib import Path

_SENTENCE = re.compile(r"[A-Z][^.!?>`_=|{}\[\]\\]{30,160}[.!?](?=\s|$)")


def sentences(count: int, seed: int = 0) -> list[str]:
    """``count`` different sentences, in an order that the seed decides.

    Raises:
        ValueError: the library has fewer.
    """
    found = _all()
    if len(found) < count:
        raise ValueError(f"the standard library has {len(found)} sentences, {count} are wanted")
    return random.Random(seed).sample(found, count)


@cache
def _all() -> tuple[str, ...]:
    found: dict[str, None] = {}
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        for text in _documentation(path):
            found |= dict.fromkeys(" ".join(match[0].split()) for match in _SENTENCE.finditer(text))
    return tuple(found)


def _documentation(path: Path) -> list[str]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return []
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    return [text for node in ast.walk(tree) if isinstance(node, kinds) and (text := ast.get_docstring(node))]

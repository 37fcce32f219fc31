"""The report as one HTML file that opens from disk: graph, decisions, pictures of weights, code.

Everything of the user's is data: JSON in an element that is not run, in which no character can end the element, and
text nodes after that. A Content-Security-Policy lets only the scripts of this package run, by their hashes.
"""

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparsecomp.errors import SparsecompError
from sparsecomp.inspect.page_data import page_data, unpacked_later
from sparsecomp.inspect.text import plain

PARTS = Path(__file__).parent / "page"
LIBRARIES = ("cytoscape", "dagre")
SCRIPTS = ("data", "layout", "graph", "map", "layers", "charts", "panel", "main")
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def write_page(report: Mapping[str, Any], path: str | Path) -> None:
    """Write the page of a report.

    Args:
        report: what `Report.to_dict` gives.
        path: the file; it is replaced if it exists.

    Raises:
        SparsecompError: the file cannot be written.
    """
    text = render(report)
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise SparsecompError(f"to_html: cannot write {path}: {error}; name another file") from error


def render(report: Mapping[str, Any]) -> str:
    """The page as text; the same for the same report."""
    style = _part("style.css")
    scripts = [*(_library(name) for name in LIBRARIES), _ours()]
    hashes = " ".join(_hash(script) for script in scripts)
    rest = "base-uri 'none'; form-action 'none'"
    fields = {
        "policy": f"default-src 'none'; script-src {hashes}; style-src {_hash(style)}; {rest}",
        "title": html.escape(f"{plain(report['model'])}: sparsecomp"),
        "style": style,
        "data": as_json(page_data(report)),
        "more": _packed(unpacked_later(report)),
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    # One pass, so that no text of the user's is taken for a field.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: fields[match[1]], _part("template.html"))


def as_json(value: Any) -> str:
    """JSON without any character that means something to HTML or to old JavaScript; not-a-number becomes null."""
    return json.dumps(_finite(value), separators=(",", ":"), allow_nan=False).translate(_ESCAPES)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def _packed(value: Any) -> str:
    """Compressed JSON as base64, which the page unpacks when a layer is opened; the time of day is left out."""
    return base64.b64encode(gzip.compress(as_json(value).encode(), mtime=0)).decode()


def _part(name: str) -> str:
    return (PARTS / name).read_text(encoding="utf-8")


def _library(name: str) -> str:
    """A library with its licence, which has to go where it goes."""
    licence = _part(f"vendor/{name}.LICENSE").replace("*/", "* /")
    return f"/*! {name}\n{licence}*/\n{_part(f'vendor/{name}.min.js')}"


def _ours() -> str:
    parts = "\n".join(_part(f"{name}.js") for name in SCRIPTS)
    return f"(() => {{\n'use strict';\n{parts}}})();\n"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

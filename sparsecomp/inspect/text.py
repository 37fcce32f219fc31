"""Strings of the user (names of modules, of classes, reasons) made harmless for each place where they are written."""

import re

LONGEST = 200  # characters of a name that a person is shown
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")


def plain(text: object, most: int = LONGEST) -> str:
    """One line that a terminal shows as it is: control characters spelled out, the middle of a long one left out."""
    shown = _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), str(text))
    return shown if len(shown) <= most else f"{shown[: most // 2]}…{shown[-(most // 2) :]}"


def markdown(text: object) -> str:
    """As `plain`, with every character escaped that Markdown or HTML reads."""
    shown = re.sub(r"([\\`*_{}\[\]()#+!|~$])", r"\\\1", plain(text))
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def cell(value: object) -> object:
    """For CSV: text that a spreadsheet would take for a formula begins with an apostrophe; numbers stay numbers."""
    if not isinstance(value, str):
        return "" if value is None else value
    return f"'{value}" if value.lstrip()[:1] in ("=", "+", "-", "@") or value[:1] in ("\t", "\r", "\n") else value


def dot(text: object) -> str:
    """A quoted string of the DOT language, shown as it is: no escape of DOT, no HTML."""
    shown = plain(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{shown}"'

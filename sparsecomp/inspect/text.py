"""Strings of the user (names of modules, of classes, reasons) made harmless for each place where they are written."""

import re

LONGEST = 200  # characters of a name that a person is shown


def plain(text: object, most: int = LONGEST) -> str:
    """One line that a terminal shows as it is: what does not print spelled out, the middle of a long one left out."""
    shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in str(text))
    return shown if len(shown) <= most else f"{shown[: most // 2]}…{shown[-(most // 2) :]}"


def markdown(text: object) -> str:
    """As `plain`, with every character escaped that Markdown or HTML reads."""
    shown = re.sub(r"([\\`*_{}\[\]()#+!|~$])", r"\\\1", plain(text))
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def cell(value: object) -> object:
    """For CSV: what a spreadsheet takes for a formula begins with an apostrophe, and UTF-8 can hold it; or a number."""
    if not isinstance(value, str):
        return "" if value is None else value
    value = value.encode("utf-8", "backslashreplace").decode()
    return f"'{value}" if value.lstrip()[:1] in ("=", "+", "-", "@") or value[:1] in ("\t", "\r", "\n") else value


def dot(text: object) -> str:
    """A quoted string of the DOT language, shown as it is: no escape of DOT, no HTML."""
    shown = plain(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{shown}"'

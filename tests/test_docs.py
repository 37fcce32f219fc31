"""Runs the Python blocks of the documentation: those of one file in order, in one namespace."""

import re
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def blocks(text):
    """Language, number of the first line and text of every fenced block."""
    return [(match[1], text[: match.start()].count("\n") + 2, match[2]) for match in BLOCK.finditer(text)]


def page_id(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # A module of its own, so that classes defined in a block can be looked up where they say they are.
    module = types.ModuleType(f"blocks_of_{page.stem.replace('-', '_')}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for language, line, text in blocks(page.read_text()):
        if language == "python":
            exec(compile("\n" * (line - 1) + text, str(page), "exec"), vars(module))


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=page_id)
def test_links_lead_somewhere(page):
    assert all((page.parent / link).exists() for link in LINK.findall(page.read_text()))


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_block_says_what_it_is(page):
    """So that no Python block escapes by having no language."""
    assert {language for language, _, _ in blocks(page.read_text())} <= {"python", "console", "text"}


def test_blocks_are_found_with_their_lines():
    assert blocks("one\n```python\nx = 1\n```\n```text\nfour\n```\n") == [
        ("python", 3, "x = 1\n"),
        ("text", 6, "four\n"),
    ]

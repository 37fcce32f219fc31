from pathlib import Path

from sparsecomp.rules.coverage import table

PAGE = Path(__file__).parents[2] / "docs" / "coverage.md"


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text() == table(), "run: python -m sparsecomp.rules.coverage > docs/coverage.md"

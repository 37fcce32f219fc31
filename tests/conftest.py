"""Options and fixtures of all tests."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is.
settings.register_profile("sparsecomp", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sparsecomp")
GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write what tests/golden/ should hold instead of comparing"
    )


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Random weights and inputs are the same in every run and in whichever order the tests run."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests neither read nor write what the user measured; those of tuning name a file of their own."""
    monkeypatch.setenv("SPARSECOMP_RECORDS", "off")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with the file of that name in tests/golden/, or writes it under ``--update-golden``."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.write_text(text)
        assert path.is_file(), f"there is no {path}; run pytest with --update-golden and read what it writes"
        assert text == path.read_text()

    return compare

"""Kernels touch nothing outside of their operands."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform != "linux", reason="pages are forbidden by Linux's mprotect")
def test_nothing_outside_of_the_operands_is_touched() -> None:
    """In a process of its own, which a fault ends; the last line that it prints is the kernel that was at fault."""
    command = [sys.executable, "-m", "tests.kernels.guard_pages"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=900, check=False)
    assert done.returncode == 0, done.stderr.splitlines()[-5:]

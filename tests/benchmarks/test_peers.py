"""The comparison with others runs, and ours removes all of it."""

import pytest

from benchmarks import peers
from benchmarks.peers import compare


def test_ours_removes_everything_exactly() -> None:
    zero, (found, *_) = compare("unet", 0.5)
    assert (found.tool, found.removed, found.failure) == ("sparsecomp", zero, "")
    assert found.error < 1e-5


def test_a_peer_that_fails_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(network: object, inputs: object) -> object:
        raise ImportError("not installed\nat all")

    monkeypatch.setattr(peers, "TOOLS", {"peer": fail})
    _, (found,) = compare("unet", 0.5)
    assert found.failure == "ImportError: not installed"

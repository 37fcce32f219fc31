"""Devices as values: those that can be named, and the one that a name means."""

from sparsecomp.errors import TargetError
from sparsecomp.targets.aarch64 import AARCH64
from sparsecomp.targets.base import Target
from sparsecomp.targets.native import check, detect, obstacle
from sparsecomp.targets.riscv64 import RISCV64
from sparsecomp.targets.x86_64 import X86_64_V3, X86_64_V4

__all__ = ["Target", "available", "detect", "obstacle", "resolve"]


def available() -> tuple[Target, ...]:
    """Every target that has a name, this machine first."""
    return (detect(), X86_64_V3, X86_64_V4, AARCH64, RISCV64)


def resolve(target: str | Target) -> Target:
    """The target that the user means.

    Args:
        target: a name, or a target of the user's own, which is taken as it is.

    Raises:
        TargetError: there is no target of that name (the message lists those there are), or one of the user's own
            describes no device.
    """
    if isinstance(target, Target):
        check(target)
        return target
    named = {known.name: known for known in available()}
    if not isinstance(target, str) or target not in named:
        raise TargetError(
            f"there is no target {target!r}; choose one of {', '.join(named)}, or pass a sparsecomp.Target"
        )
    return named[target]

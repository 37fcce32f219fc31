"""What the operating system says about the machine we run on. Nothing here needs TVM, and nothing here raises.

On Linux the source is ``/proc`` and ``/sys``, where a container may hide any file; on macOS it is ``sysctl``. What
cannot be read is empty or ``None``, and the caller has a default for it.
"""

import math
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Host:
    """The machine we run on.

    Attributes:
        cpu: name of the processor for people, or ``""``.
        flags: instruction set extensions in the operating system's spelling; empty where they are not known.
        cores: threads that are worth running: physical cores that this process may use, within the container's share.
        cache_bytes: data cache size by level, only those known.
        hertz: highest clock frequency, or ``None``.
    """

    cpu: str
    flags: frozenset[str]
    cores: int
    cache_bytes: dict[int, int]
    hertz: float | None


def read_host(root: Path = Path("/")) -> Host:
    """Describe this machine, or the one whose ``/proc`` and ``/sys`` lie under ``root``."""
    sysctl = _sysctl()
    if sysctl:
        return _from_sysctl(sysctl)
    cpuinfo = _cpuinfo(root)
    return Host(
        cpu=cpuinfo.get("model name", ""),
        flags=_flags(cpuinfo),
        cores=_cores(root),
        cache_bytes=_cache_bytes(root),
        hertz=_hertz(root, cpuinfo),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _cpuinfo(root: Path) -> dict[str, str]:
    """The first processor's block of ``/proc/cpuinfo``."""
    block = _text(root / "proc/cpuinfo").split("\n\n")[0]
    pairs = (line.partition(":") for line in block.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _flags(cpuinfo: dict[str, str]) -> frozenset[str]:
    """Extensions: ``flags`` on x86, ``Features`` on Arm, and on RISC-V the letters and words of ``isa``."""
    words = cpuinfo.get("flags", cpuinfo.get("Features", "")).split()
    letters, *extensions = cpuinfo.get("isa", "").removeprefix("rv64").split("_")
    return frozenset([*words, *letters, *extensions])


def _cores(root: Path) -> int:
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cpus = root / "sys/devices/system/cpu"
    siblings = [_text(cpus / f"cpu{index}/topology/thread_siblings_list") or str(index) for index in usable]
    return max(1, min(len(set(siblings)), _container_share(root)))


def _container_share(root: Path) -> int:
    """Whole cores that the control group grants, rounded up; more than any machine has where it sets no limit."""
    quota, _, period = _text(root / "sys/fs/cgroup/cpu.max").partition(" ")
    if not quota:
        quota = _text(root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us")
        period = _text(root / "sys/fs/cgroup/cpu/cpu.cfs_period_us")
    if not (quota.isdigit() and period.isdigit()):
        return 1 << 16
    return math.ceil(int(quota) / int(period))


def _cache_bytes(root: Path) -> dict[int, int]:
    sizes: dict[int, int] = {}
    for index in sorted((root / "sys/devices/system/cpu/cpu0/cache").glob("index*")):
        size = re.fullmatch(r"(\d+)([KM]?)", _text(index / "size"))
        level = _text(index / "level")
        if size and level.isdigit() and _text(index / "type") != "Instruction":
            sizes[int(level)] = int(size[1]) * {"": 1, "K": 1 << 10, "M": 1 << 20}[size[2]]
    return sizes


def _hertz(root: Path, cpuinfo: dict[str, str]) -> float | None:
    kilohertz = _text(root / "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")
    if kilohertz.isdigit():
        return float(kilohertz) * 1e3
    megahertz = re.fullmatch(r"\d+(\.\d+)?", cpuinfo.get("cpu MHz", ""))
    return float(megahertz[0]) * 1e6 if megahertz else None


def _sysctl() -> dict[str, str]:
    """The hardware variables of macOS; empty on any other system."""
    if sys.platform != "darwin":
        return {}
    try:
        listing = subprocess.run(["sysctl", "hw", "machdep.cpu"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return {}
    return dict(line.split(": ", 1) for line in listing.splitlines() if ": " in line)


def _from_sysctl(values: dict[str, str]) -> Host:
    """Prefer the fast cores (``perflevel0``) where a processor has two kinds."""

    def number(*names: str) -> int | None:
        return next((int(values[name]) for name in names if values.get(name, "").isdigit()), None)

    l1 = number("hw.perflevel0.l1dcachesize", "hw.l1dcachesize")
    l2 = number("hw.perflevel0.l2cachesize", "hw.l2cachesize")
    l3 = number("hw.l3cachesize")
    hertz = number("hw.cpufrequency_max", "hw.cpufrequency")
    return Host(
        cpu=values.get("machdep.cpu.brand_string", ""),
        flags=frozenset(),
        cores=number("hw.perflevel0.physicalcpu", "hw.physicalcpu") or os.cpu_count() or 1,
        cache_bytes={level: size for level, size in ((1, l1), (2, l2), (3, l3)) if size},
        hertz=float(hertz) if hertz else None,
    )

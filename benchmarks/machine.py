"""Where and with what figures were measured, for the record next to them."""

import os
import platform
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("torch", "onnxruntime", "openvino", "onnx", "apache-tvm", "transformers", "numpy", "sparsecomp")
_EXTENSIONS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd", "sve")


def describe() -> dict[str, Any]:
    """``{"date", "machine", "versions"}``; the machine by processor, cores, caches, memory and system."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": {
            "processor": _cpuinfo().get("model name", platform.processor() or platform.machine()),
            "family_model": [_cpuinfo().get(key) for key in ("vendor_id", "cpu family", "model")],
            "extensions": [name for name in _EXTENSIONS if name in _cpuinfo().get("flags", "").split()],
            "cores": len(os.sched_getaffinity(0)),
            "caches": _caches(),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def _cpuinfo() -> dict[str, str]:
    """The first processor's entry of /proc/cpuinfo."""
    entry = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    pairs = (line.partition(":") for line in entry.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _caches() -> dict[str, str]:
    """Sizes as the kernel tells them, such as ``{"L1 Data": "48K"}``."""
    folders = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"))
    read = [[(folder / part).read_text().strip() for part in ("level", "type", "size")] for folder in folders]
    return {f"L{level} {kind}": size for level, kind, size in read}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None

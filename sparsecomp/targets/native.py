"""The machine we run on as a target, and whether code made for another target can run on it."""

import platform
from functools import cache

from sparsecomp.errors import TargetError
from sparsecomp.targets.base import Target
from sparsecomp.targets.host import Host, read_host

# LLVM's name of a feature -> the operating system's, for those that generated code may use. A hypervisor or the kernel
# may hide a feature that LLVM ascribes to the CPU by its name.
FEATURES = {
    "x86_64": {
        "sse4.2": "sse4_2",
        "avx": "avx",
        "f16c": "f16c",
        "fma": "fma",
        "bmi2": "bmi2",
        "avx2": "avx2",
        "avxvnni": "avx_vnni",
        "avx512f": "avx512f",
        "avx512cd": "avx512cd",
        "avx512dq": "avx512dq",
        "avx512bw": "avx512bw",
        "avx512vl": "avx512vl",
        "avx512vnni": "avx512_vnni",
        "avx512bf16": "avx512_bf16",
        "avx512fp16": "avx512_fp16",
        "amx-tile": "amx_tile",
        "amx-int8": "amx_int8",
        "amx-bf16": "amx_bf16",
    },
    "aarch64": {
        "neon": "asimd",
        "dotprod": "asimddp",
        "fullfp16": "asimdhp",
        "i8mm": "i8mm",
        "bf16": "bf16",
        "sve": "sve",
        "sve2": "sve2",
    },
    "riscv64": {"m": "m", "a": "a", "f": "f", "d": "d", "c": "c", "v": "v"},
}
DEFAULT_HERTZ = 2.5e9
DEFAULT_CACHE_BYTES = {1: 32 << 10, 2: 512 << 10, 3: 4 << 20}
# CPUs, by LLVM's names, that start one FMA of 512 bits a cycle: two passes of 256-bit units, or one unit only (Fog, The
# microarchitecture of Intel, AMD and VIA CPUs).
ONE_FMA_512 = frozenset({"znver4", "icelake-client", "tigerlake", "rocketlake", "cannonlake"})
# Vector loads a cycle from (L1, L2) of one core, bytes a cycle from L3, bytes/s from DRAM: typical of server cores of
# this decade.
LOADS_PER_CYCLE = (1.9, 0.8)
L3_BYTES_PER_CYCLE = 12
DRAM_BYTES_PER_S = 12e9


@cache
def detect() -> Target:
    """The machine we run on. What the system hides (a container, a virtual machine) has a cautious default."""
    import tvm.target.codegen  # here, so that naming a target does not load TVM

    return describe(
        read_host(),
        triple=str(tvm.target.codegen.llvm_get_system_triple()).replace("-conda-", "-unknown-"),
        mcpu=str(tvm.target.codegen.llvm_get_system_cpu()) or "generic",
    )


def describe(host: Host, triple: str, mcpu: str) -> Target:
    """The target of a machine.

    Args:
        host: what the operating system says of it.
        triple: its LLVM triple.
        mcpu: its CPU as LLVM calls it.
    """
    bare = Target("native", "", triple, mcpu, mabi="lp64d" if triple.startswith("riscv64") else "")
    mattr = _corrections(bare, host.flags)
    features = _features(Target("native", "", triple, mcpu, mattr))
    bits, registers = _vectors(bare.arch, features)
    caches = DEFAULT_CACHE_BYTES | host.cache_bytes
    hertz = host.hertz or DEFAULT_HERTZ
    units = 1 if bits == 512 and mcpu in ONE_FMA_512 else 2
    l1, l2 = (loads * hertz * bits / 8 for loads in LOADS_PER_CYCLE)
    return Target(
        name="native",
        description=host.cpu or platform.machine(),
        triple=triple,
        mcpu=mcpu,
        mattr=mattr,
        mabi=bare.mabi,
        vector_bits=bits,
        vector_registers=registers,
        cores=host.cores,
        l1_bytes=caches[1],
        l2_bytes=caches[2],
        l3_bytes=caches[3],
        fma_units=units,
        flops=2 * units * hertz * bits / 32,  # a fused multiply-add is two operations
        bytes_per_s=(l1 * units / 2, l2 * units / 2, L3_BYTES_PER_CYCLE * hertz, DRAM_BYTES_PER_S),
    )


def check(target: Target) -> None:
    """Refuse a target that describes no device.

    Raises:
        TargetError: LLVM does not know its CPU or triple, or a number of it is none of a device.
    """
    from tvm.target.codegen import llvm_is_valid_cpu

    sizes = (target.cores, target.l1_bytes, target.l2_bytes, target.l3_bytes, target.flops, *target.bytes_per_s)
    if target.vector_bits % 32 or not 32 <= target.vector_bits <= 2048 or target.vector_registers < 8:
        raise TargetError(
            f"target {target.name!r}: {target.vector_registers} vector registers of {target.vector_bits} bits; "
            "at least 8 of a multiple of 32 bits, up to 2048, are needed"
        )
    if min(sizes) <= 0:
        raise TargetError(f"target {target.name!r}: cores, cache sizes and speeds must be positive, got {sizes}")
    if not llvm_is_valid_cpu(target.mcpu, target.triple):
        raise TargetError(
            f"target {target.name!r}: LLVM has no CPU {target.mcpu!r} for {target.triple!r}; "
            "`llc -mtriple=TRIPLE -mcpu=help` lists those there are"
        )


def obstacle(target: Target) -> str | None:
    """Why code for ``target`` cannot run on this machine, in words for an error message; None where it can."""
    here = detect()
    if (target.arch, target.system) != (here.arch, here.system):
        return f"it is for {target.arch} {target.system}, and this machine is {here.arch} {here.system}"
    known = FEATURES.get(here.arch, {})
    missing = sorted((_features(target) - _features(here)) & known.keys())
    return f"it needs {', '.join(missing)}, which this machine ({here.mcpu}) does not have" if missing else None


def _features(target: Target) -> set[str]:
    import tvm.target.codegen

    options = tvm.target.Target(target.tvm_options())
    return {str(name) for name in tvm.target.codegen.llvm_get_cpu_features(options)}


def _corrections(target: Target, flags: frozenset[str]) -> tuple[str, ...]:
    """Where LLVM and the operating system disagree about a feature: ``"-name"`` to drop, ``"+name"`` to add."""
    if not flags:
        return ()
    assumed = _features(target)
    known = FEATURES.get(target.arch, {}).items()
    hidden = [f"-{name}" for name, flag in known if name in assumed and flag not in flags]
    # LLVM calls a CPU that it does not know "generic", as it does all of RISC-V, and ascribes next to nothing to it.
    extra = [f"+{name}" for name, flag in known if name not in assumed and flag in flags]
    return (*hidden, *extra)


def _vectors(arch: str, features: set[str]) -> tuple[int, int]:
    """Width in bits and number of the vector registers."""
    if "avx512f" in features:
        return 512, 32
    if arch == "x86_64":
        return (256 if "avx" in features else 128), 16
    return 128, 32

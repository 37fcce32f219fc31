"""A target is a value: what a device is called, what TVM needs to know of it, and what it can do."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A device to compile for.

    Code asks the fields, never the name.

    Attributes:
        name: what the user writes, such as ``"x86-64-v3"``.
        description: one line for people.
        triple: LLVM target triple.
        mcpu: LLVM CPU name.
        mattr: LLVM features to add (``"+name"``) to those of the CPU or to drop (``"-name"``).
        vector_bits: width of one vector register.
        vector_registers: how many vector registers there are.
        cores: threads that the program may use.
        l1_bytes, l2_bytes, l3_bytes: data cache sizes seen by one core.
        fma_units: vector FMAs that one core starts in a cycle; 1 where 512-bit vectors take two passes.
        flops: peak float32 FLOP/s of one core.
        bytes_per_s: bytes/s of one core from ``(L1, L2, L3, DRAM)``.
        mabi: LLVM name of the calling convention, where the triple alone does not say it.
    """

    name: str
    description: str
    triple: str
    mcpu: str
    mattr: tuple[str, ...] = ()
    vector_bits: int = 128
    vector_registers: int = 32
    cores: int = 1
    l1_bytes: int = 32 * 1024
    l2_bytes: int = 512 * 1024
    l3_bytes: int = 4 * 1024 * 1024
    fma_units: int = 2
    flops: float = 10e9
    bytes_per_s: tuple[float, float, float, float] = (100e9, 50e9, 30e9, 8e9)
    mabi: str = ""

    @property
    def lanes(self) -> int:
        """Float32 values in one vector register."""
        return self.vector_bits // 32

    @property
    def arch(self) -> str:
        """Instruction set family, such as ``"x86_64"``; the same word for every spelling of it in a triple."""
        family = self.triple.split("-")[0]
        return {"amd64": "x86_64", "arm64": "aarch64"}.get(family, family)

    @property
    def system(self) -> str:
        """Operating system whose shared libraries this target makes: ``"linux"`` or ``"macos"``."""
        return "macos" if any(word in self.triple for word in ("apple", "darwin", "macos")) else "linux"

    @property
    def fingerprint(self) -> str:
        """A stable key for measurements: equal for devices on which the same program runs equally fast.

        The speeds are left out: they are measured, and so differ a little from one detection to the next.
        """
        shape = (self.mattr, self.mabi, self.vector_registers, self.l1_bytes, self.l2_bytes, self.l3_bytes)
        digest = hashlib.sha256(repr(shape).encode()).hexdigest()[:8]
        return f"{self.system}-{self.arch}-{self.mcpu}-{self.vector_bits}b-{self.cores}c-{digest}"

    def tvm_options(self) -> dict[str, object]:
        """The options of ``tvm.target.Target`` for this device."""
        options: dict[str, object] = {
            "kind": "llvm",
            "mtriple": self.triple,
            "mcpu": self.mcpu,
            "num-cores": self.cores,
            # At level 3 LLVM writes out short loops of products completely, and spills their sums.
            "opt-level": 2,
            # LLVM keeps constants of outer loops in registers throughout, and then has none left for the sums.
            "cl-opt": ["-disable-machine-licm:bool=1"],
            # Left out, TVM assumes 512 bits on every x86-64.
            "vector-width": self.vector_bits,
        }
        if self.mattr:
            options["mattr"] = list(self.mattr)
        if self.mabi:
            options["mabi"] = self.mabi
        return options

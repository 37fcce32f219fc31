"""A target is a value: what a device is called, what TVM needs to know of it, and what it can do."""

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
        mattr: LLVM features to add, each ``"+name"``.
        vector_bits: width of one vector register.
        vector_registers: how many vector registers there are.
        cores: threads that the program may use.
        l1_bytes, l2_bytes, l3_bytes: data cache sizes seen by one core.
        flops: peak float32 FLOP/s of one core.
        bytes_per_s: bytes/s of one core from ``(L1, L2, L3, DRAM)``.
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
    flops: float = 10e9
    bytes_per_s: tuple[float, float, float, float] = (100e9, 50e9, 30e9, 8e9)

    @property
    def lanes(self) -> int:
        """Float32 values in one vector register."""
        return self.vector_bits // 32

    def tvm_options(self) -> dict[str, object]:
        """The options of ``tvm.target.Target`` for this device."""
        options: dict[str, object] = {
            "kind": "llvm",
            "mtriple": self.triple,
            "mcpu": self.mcpu,
            "num-cores": self.cores,
        }
        if self.mattr:
            options["mattr"] = list(self.mattr)
        return options

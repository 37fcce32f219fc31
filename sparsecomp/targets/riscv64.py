"""64-bit RISC-V on Linux with the vector extension, registers of 128 bits. The speeds are those of a core at 2 GHz."""

from sparsecomp.targets.base import Target

RISCV64 = Target(
    name="riscv64",
    description="64-bit RISC-V with vectors (rv64gcv)",
    triple="riscv64-unknown-linux-gnu",
    mcpu="generic-rv64",
    mattr=("+m", "+a", "+f", "+d", "+c", "+v"),
    mabi="lp64d",
    vector_bits=128,
    vector_registers=32,
    cores=4,
    l1_bytes=32 * 1024,
    l2_bytes=512 * 1024,
    l3_bytes=2 * 1024 * 1024,
    flops=16e9,
    bytes_per_s=(32e9, 16e9, 8e9, 4e9),
)

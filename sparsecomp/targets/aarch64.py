"""64-bit Arm on Linux, the instructions that every such core has. The speeds are those of a Cortex-A76 at 2.5 GHz."""

from sparsecomp.targets.base import Target

AARCH64 = Target(
    name="aarch64",
    description="64-bit Arm with NEON",
    triple="aarch64-unknown-linux-gnu",
    mcpu="generic",
    vector_bits=128,
    vector_registers=32,
    cores=4,
    l1_bytes=64 * 1024,
    l2_bytes=512 * 1024,
    l3_bytes=4 * 1024 * 1024,
    flops=40e9,
    bytes_per_s=(80e9, 40e9, 20e9, 8e9),
)

"""The two x86-64 levels that matter for vectors, as the psABI defines them, on Linux.

The speeds are those of one typical core: for v3 Zen 3 at 3 GHz (measured), for v4 a server core with two 512-bit FMA
units.
"""

from sparsecomp.targets.base import Target

X86_64_V3 = Target(
    name="x86-64-v3",
    description="AVX2 and FMA: Intel since Haswell, AMD since Zen",
    triple="x86_64-unknown-linux-gnu",
    mcpu="x86-64-v3",
    vector_bits=256,
    vector_registers=16,
    cores=4,
    l1_bytes=32 * 1024,
    l2_bytes=512 * 1024,
    l3_bytes=16 * 1024 * 1024,
    flops=96e9,
    bytes_per_s=(184e9, 92e9, 70e9, 16e9),
)

X86_64_V4 = Target(
    name="x86-64-v4",
    description="AVX-512: Intel since Skylake-X, AMD since Zen 4",
    triple="x86_64-unknown-linux-gnu",
    mcpu="x86-64-v4",
    vector_bits=512,
    vector_registers=32,
    cores=4,
    l1_bytes=32 * 1024,
    l2_bytes=1024 * 1024,
    l3_bytes=16 * 1024 * 1024,
    flops=180e9,
    bytes_per_s=(340e9, 130e9, 35e9, 12e9),
)

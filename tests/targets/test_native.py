import os
from dataclasses import replace

import pytest

from sparsecomp.targets import native
from sparsecomp.targets.aarch64 import AARCH64
from sparsecomp.targets.host import Host, read_host
from sparsecomp.targets.native import FEATURES, describe, detect, obstacle
from sparsecomp.targets.riscv64 import RISCV64
from sparsecomp.targets.x86_64 import X86_64_V3

UNKNOWN = Host(cpu="", flags=frozenset(), cores=1, cache_bytes={}, hertz=None)
X86 = "x86_64-unknown-linux-gnu"
AVX512 = tuple(name for name in FEATURES["x86_64"] if name.startswith("avx512"))


def flags(arch, *without):
    return frozenset(flag for name, flag in FEATURES[arch].items() if name not in without)


def test_native_is_this_machine():
    here = detect()
    assert here.name == "native"
    assert here.cores == read_host().cores <= (os.cpu_count() or 1)
    assert here.flops > 1e9
    assert obstacle(here) is None


def test_native_is_detected_once():
    assert detect() is detect()


def test_a_hidden_machine_has_defaults():
    found = describe(UNKNOWN, X86, "x86-64")
    assert (found.vector_bits, found.vector_registers, found.mattr) == (128, 16, ())
    assert found.l1_bytes <= found.l2_bytes <= found.l3_bytes
    assert min(found.flops, *found.bytes_per_s) > 0


def test_a_feature_that_the_system_hides_is_not_used():
    visible = describe(replace(UNKNOWN, flags=flags("x86_64")), X86, "znver4")
    hidden = describe(replace(UNKNOWN, flags=flags("x86_64", *AVX512)), X86, "znver4")
    assert (visible.vector_bits, visible.vector_registers) == (512, 32)
    assert (hidden.vector_bits, hidden.vector_registers) == (256, 16)
    assert "-avx512f" in hidden.mattr


def test_a_cpu_that_llvm_does_not_know_has_the_features_that_the_system_names():
    found = describe(replace(UNKNOWN, flags=frozenset({"avx", "avx2", "fma"})), X86, "x86-64")
    assert found.mattr == ("+avx", "+fma", "+avx2")
    assert found.vector_bits == 256


def test_riscv_vectors_come_from_the_system():
    found = describe(replace(UNKNOWN, flags=frozenset("imafdcv")), RISCV64.triple, "generic-rv64")
    assert set(found.mattr) == set(RISCV64.mattr)
    assert found.mabi == "lp64d"


def test_arm():
    found = describe(UNKNOWN, "arm64-apple-darwin23", "apple-m2")
    assert (found.vector_bits, found.vector_registers) == (128, 32)


def test_speeds_follow_the_clock():
    slow, fast = (describe(replace(UNKNOWN, hertz=hertz), X86, "x86-64-v3") for hertz in (2e9, 4e9))
    assert fast.flops == 2 * slow.flops == 4e9 * 2 * 2 * 8
    assert fast.bytes_per_s[0] == 2 * slow.bytes_per_s[0]


@pytest.fixture
def on_zen3(monkeypatch):
    host = replace(UNKNOWN, flags=flags("x86_64", *AVX512, "avxvnni", "amx-tile", "amx-int8", "amx-bf16"))
    monkeypatch.setattr(native, "detect", lambda: describe(host, X86, "znver3"))


@pytest.mark.usefixtures("on_zen3")
def test_code_for_a_lesser_cpu_runs():
    assert obstacle(X86_64_V3) is None


@pytest.mark.usefixtures("on_zen3")
@pytest.mark.parametrize(
    ("target", "word"),
    [
        (AARCH64, "aarch64"),
        (replace(X86_64_V3, mcpu="x86-64-v4"), "avx512f"),
        (replace(X86_64_V3, mattr=("+avx512vnni",)), "avx512vnni"),
        (replace(X86_64_V3, triple="x86_64-apple-darwin22"), "macos"),
    ],
)
def test_what_keeps_code_from_running_is_named(target, word):
    assert word in str(obstacle(target))

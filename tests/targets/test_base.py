from dataclasses import FrozenInstanceError, replace

import pytest

from sparsecomp.targets.base import Target

DEVICE = Target("mine", "", "x86_64-unknown-linux-gnu", "znver3", vector_bits=256)


def test_a_target_is_a_value():
    assert replace(DEVICE) == DEVICE
    assert hash(DEVICE) == hash(replace(DEVICE))
    with pytest.raises(FrozenInstanceError):
        DEVICE.cores = 2  # type: ignore[misc]


def test_lanes_are_float32():
    assert DEVICE.lanes == 8


@pytest.mark.parametrize(
    ("triple", "arch", "system"),
    [
        ("x86_64-unknown-linux-gnu", "x86_64", "linux"),
        ("amd64-unknown-linux-gnu", "x86_64", "linux"),
        ("arm64-apple-darwin23.1.0", "aarch64", "macos"),
        ("aarch64-unknown-linux-musl", "aarch64", "linux"),
    ],
)
def test_arch_and_system_are_read_from_any_spelling_of_the_triple(triple, arch, system):
    device = replace(DEVICE, triple=triple)
    assert (device.arch, device.system) == (arch, system)


@pytest.mark.parametrize(
    "change",
    [
        {"mcpu": "znver4"},
        {"mattr": ("-avx2",)},
        {"vector_bits": 512},
        {"cores": 3},
        {"l1_bytes": 1},
        {"l3_bytes": 1},
        {"triple": "arm64-apple-macos"},
    ],
)
def test_what_changes_the_speed_of_a_program_changes_the_fingerprint(change):
    assert replace(DEVICE, **change).fingerprint != DEVICE.fingerprint


def test_names_and_measured_speeds_leave_the_fingerprint_alone():
    assert replace(DEVICE, name="other", description="words", flops=1.0).fingerprint == DEVICE.fingerprint


def test_options_name_the_device_to_tvm():
    options = replace(DEVICE, mattr=("+fma",), mabi="lp64d").tvm_options()
    assert options["mcpu"] == "znver3"
    assert options["vector-width"] == 256
    assert (options["mattr"], options["mabi"]) == (["+fma"], "lp64d")
    assert not {"mattr", "mabi"} & DEVICE.tvm_options().keys()

import os

import pytest

from sparsecomp.targets import host
from sparsecomp.targets.host import read_host

X86 = """processor\t: 0
model name\t: Some CPU @ 2.00GHz
cpu MHz\t\t: 2300.000
flags\t\t: fpu avx2 fma avx512f

processor\t: 1
model name\t: Some CPU @ 2.00GHz
cpu MHz\t\t: 800.000
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp\nCPU part\t: 0xd0c\n"
RISCV = "processor\t: 0\nhart\t\t: 0\nisa\t\t: rv64imafdcv_zicsr_zifencei\n"


@pytest.fixture(autouse=True)
def linux(monkeypatch):
    monkeypatch.setattr(host, "_sysctl", dict)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)


@pytest.fixture
def machine(tmp_path):
    """Writes files of a machine: path below its root -> text."""

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


def cache(index, level, kind, size):
    folder = f"sys/devices/system/cpu/cpu0/cache/index{index}"
    return {f"{folder}/level": f"{level}\n", f"{folder}/type": f"{kind}\n", f"{folder}/size": f"{size}\n"}


def siblings(*groups):
    cpus = "sys/devices/system/cpu"
    return {f"{cpus}/cpu{index}/topology/thread_siblings_list": text for index, text in enumerate(groups)}


def test_x86(machine):
    caches = cache(0, 1, "Data", "48K") | cache(1, 1, "Instruction", "32K") | cache(2, 2, "Unified", "2M")
    found = read_host(machine({"proc/cpuinfo": X86, **caches}))
    assert found.cpu == "Some CPU @ 2.00GHz"
    assert found.flags == {"fpu", "avx2", "fma", "avx512f"}
    assert found.cache_bytes == {1: 48 * 1024, 2: 2 * 1024 * 1024}
    assert found.hertz == 2300e6
    assert found.cores == 4


def test_the_highest_frequency_comes_before_the_present_one(machine):
    files = {"proc/cpuinfo": X86, "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "3500000\n"}
    assert read_host(machine(files)).hertz == 3.5e9


def test_arm_flags(machine):
    assert read_host(machine({"proc/cpuinfo": ARM})).flags == {"fp", "asimd", "asimddp"}


def test_riscv_flags(machine):
    assert read_host(machine({"proc/cpuinfo": RISCV})).flags >= {"i", "m", "a", "f", "d", "c", "v", "zicsr"}


def test_hyperthreads_share_a_core(machine):
    assert read_host(machine(siblings("0,2", "1,3", "0,2", "1,3"))).cores == 2


def test_cores_outside_the_affinity_mask_are_not_counted(machine, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert read_host(machine({})).cores == 1


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ({"sys/fs/cgroup/cpu.max": "max 100000\n"}, 4),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 4),
    ],
)
def test_a_container_gets_its_share(machine, files, cores):
    assert read_host(machine(files)).cores == cores


def test_a_system_that_hides_everything_is_described_all_the_same(tmp_path):
    found = read_host(tmp_path)
    assert (found.cpu, found.flags, found.cache_bytes, found.hertz) == ("", frozenset(), {}, None)
    assert found.cores == 4


def test_unreadable_numbers_count_as_hidden(machine):
    files = {"proc/cpuinfo": "cpu MHz\t: unknown\n", **cache(0, 1, "Data", "many")}
    found = read_host(machine(files))
    assert (found.hertz, found.cache_bytes) == (None, {})


def test_macos(monkeypatch):
    values = {
        "machdep.cpu.brand_string": "Apple M2",
        "hw.perflevel0.physicalcpu": "4",
        "hw.physicalcpu": "8",
        "hw.perflevel0.l1dcachesize": "131072",
        "hw.l1dcachesize": "65536",
        "hw.l2cachesize": "4194304",
    }
    monkeypatch.setattr(host, "_sysctl", lambda: values)
    found = read_host()
    assert (found.cpu, found.cores) == ("Apple M2", 4)
    assert found.cache_bytes == {1: 131072, 2: 4194304}

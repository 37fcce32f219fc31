from dataclasses import replace

import pytest
import tvm
from tvm.script import tirx as T

from sparsecomp.errors import TargetError
from sparsecomp.targets import Target, available, resolve


@T.prim_func(s_tir=True)
def relu(x: T.Buffer((64,), "float32"), y: T.Buffer((64,), "float32")):
    for i in T.vectorized(64):
        with T.sblock("relu"):
            at = T.axis.spatial(64, i)
            y[at] = T.max(x[at], T.float32(0))


def names():
    return [target.name for target in available()]


@pytest.mark.parametrize("name", names())
def test_a_name_resolves_to_its_target(name):
    assert resolve(name).name == name


def test_names_are_unique_and_native_comes_first():
    assert len(set(names())) == len(names())
    assert names()[0] == "native"


def test_a_target_of_the_users_own_is_taken_as_it_is():
    mine = Target("mine", "", "x86_64-unknown-linux-gnu", "znver3")
    assert resolve(mine) is mine


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"mcpu": "nonsense"}, "nonsense"),
        ({"triple": "abacus-unknown-linux-gnu"}, "abacus"),
        ({"vector_bits": 16}, "16 bits"),
        ({"vector_registers": 2}, "2 vector registers"),
        ({"cores": 0}, "positive"),
        ({"bytes_per_s": (1.0, 1.0, 0.0, 1.0)}, "positive"),
    ],
)
def test_a_target_that_describes_no_device_is_refused(change, word):
    with pytest.raises(TargetError, match=word):
        resolve(replace(resolve("x86-64-v3"), **change))


@pytest.mark.parametrize("wrong", ["x86", "", "Native", None, 3])
def test_an_unknown_target_lists_those_there_are(wrong):
    with pytest.raises(TargetError) as error:
        resolve(wrong)
    assert all(name in str(error.value) for name in names())


@pytest.mark.parametrize("target", available(), ids=names())
def test_tvm_makes_code_for_every_target(target):
    module = tvm.IRModule({"relu": relu.with_attr("global_symbol", "relu")})
    code = tvm.compile(module, target=tvm.target.Target(target.tvm_options())).mod
    assembly = code.inspect_source("asm")
    word = {512: "zmm", 256: "ymm"}.get(
        target.vector_bits, {"aarch64": ".4s", "riscv64": "vsetivli"}.get(target.arch, "xmm")
    )
    assert word in assembly


@pytest.mark.parametrize("target", available(), ids=names())
def test_numbers_are_those_of_a_real_device(target):
    assert target.description
    assert target.l1_bytes < target.l2_bytes <= target.l3_bytes
    assert list(target.bytes_per_s) == sorted(target.bytes_per_s, reverse=True)
    assert target.vector_registers in (16, 32)

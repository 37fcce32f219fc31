"""The compiled program: concurrent calls, verification, timing."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

import sparsecomp
from sparsecomp.errors import InputError, SparsecompError, VerificationError
from sparsecomp.runtime import Benchmark, Compiled, Timing
from tests.graphs import assert_close, net, tensor

MODEL = net(lambda net, x: net.second(net.first(x).relu()), first=nn.Linear(32, 64), second=nn.Linear(64, 16))


@torch.no_grad()
def expected(x):
    return MODEL(x)


@pytest.fixture(scope="module")
def compiled():
    return sparsecomp.compile(MODEL, "native", (tensor(8, 32),))


def test_calls_from_many_threads_give_each_its_own_result(compiled):
    inputs = [tensor(8, 32, seed=seed) for seed in range(8)]

    def work(x):
        return [compiled(x) for _ in range(50)]

    with ThreadPoolExecutor(8) as pool:
        for x, results in zip(inputs, pool.map(work, inputs), strict=True):
            for result in results:
                assert_close(result, expected(x))


def test_the_first_call_from_many_threads_compiles_once():
    stages = []
    lazy = sparsecomp.compile(MODEL, progress=stages.append)
    inputs = [tensor(8, 32, seed=seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for x, result in zip(inputs, pool.map(lazy, inputs), strict=True):
            assert_close(result, expected(x))
    assert stages.count("capture") == 1


def test_numpy_in_numpy_out(compiled):
    x = tensor(8, 32)
    result = compiled(x.numpy())
    assert isinstance(result, np.ndarray)
    assert_close(torch.from_numpy(result), expected(x))


def test_an_error_leaves_the_program_usable(compiled):
    with pytest.raises(InputError):
        compiled(tensor(8, 31))
    assert_close(compiled(tensor(8, 32)), expected(tensor(8, 32)))


def test_verify_gives_the_error(compiled):
    assert 0 <= compiled.verify(tensor(8, 32, seed=5)) < 1e-5


def test_verify_sees_a_model_that_has_changed():
    model = net(lambda net, x: net.head(x), head=nn.Linear(4, 4))
    compiled = sparsecomp.compile(model, "native", (tensor(2, 4),))
    compiled.verify(tensor(2, 4))
    model.head.weight.data.mul_(1.001)
    with pytest.raises(VerificationError, match=r"relative error .* is above the allowed 1e-04"):
        compiled.verify(tensor(2, 4))
    assert 1e-4 < compiled.verify(tensor(2, 4), tolerance=0.1) < 0.1


def test_benchmark_times_both(compiled):
    measured = compiled.benchmark(tensor(8, 32), runs=7, warmup=1)
    for timing in (measured.compiled, measured.eager):
        assert timing.runs == 7
        assert 0 < timing.minimum <= timing.median <= timing.p90 <= timing.p99
    assert measured.speedup == measured.eager.median / measured.compiled.median


def test_benchmark_checks_its_inputs(compiled):
    with pytest.raises(InputError, match="has size 31"):
        compiled.benchmark(tensor(8, 31))


def test_timing_of_seconds():
    timing = Timing.of([0.004, 0.001, 0.002, 0.003])
    assert (timing.runs, timing.minimum) == (4, 1.0)
    assert timing.median == pytest.approx(2.5)
    assert str(timing) == "median 2.500 ms, min 1.000, p90 3.700, p99 3.970 (4 runs)"


def test_a_benchmark_without_the_model_has_no_speedup():
    timing = Timing.of([0.001])
    assert Benchmark(timing).speedup is None
    assert "speed-up" not in str(Benchmark(timing))
    assert "speed-up: 1.00" in str(Benchmark(timing, timing))


def test_what_is_known_of_a_program(compiled):
    assert str(compiled.signature) == "(inputs_0: float32[8, 32])"
    assert compiled.target.name == "native"
    assert compiled.report.relative_error < 1e-5


def test_without_the_model_verify_says_so(compiled):
    alone = Compiled(lambda args, kwargs: compiled.prepare())
    assert_close(alone(tensor(8, 32)), expected(tensor(8, 32)))
    with pytest.raises(SparsecompError, match="verify needs the model"):
        alone.verify(tensor(8, 32))
    assert alone.benchmark(tensor(8, 32), runs=1, warmup=0).eager is None

"""Scans of recurrent layers against double precision, over poisoned outputs."""

import numpy as np
import pytest
import torch
import tvm

import sparsecomp.ops_recurrent  # noqa: F401  registers torch.ops.sparsecomp
from sparsecomp.kernels.scan import GATES, ScanSpec, block_of, build, pack
from sparsecomp.lower.machine_code import compile_kernel
from tests.kernels.reference import AVX2, host

TARGETS = (host(), AVX2)


def scan(cell, directions, batch, time, hidden, *, batch_first=True, initial=(), bias=False, varies=False, target=None):
    """The largest error of outputs and last states, relative to the norm of each."""
    generator = torch.Generator().manual_seed(hidden)

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    gates = normal(*((batch, time) if batch_first else (time, batch)), directions * GATES[cell] * hidden)
    weight = normal(directions, GATES[cell] * hidden, hidden) / hidden**0.5
    offset = normal(directions, hidden) if bias else None
    states = [normal(directions, batch, hidden) if given else None for given in initial]
    wide = [None if value is None else value.double() for value in (gates, weight, offset, *states)]
    operator = {"lstm": torch.ops.sparsecomp.lstm_scan, "gru": torch.ops.sparsecomp.gru_scan}[cell]
    expected = operator(*(wide if cell == "gru" else [*wide[:2], *wide[3:]]), batch_first)
    sizes = (None, None) if varies else (batch, time)
    spec = ScanSpec(cell, directions, *sizes, hidden, batch_first, tuple(initial), bias)
    inputs = [gates, torch.from_numpy(pack(weight.numpy())), offset, *states]
    found = run(spec, target or TARGETS[0], [value for value in inputs if value is not None], expected)
    errors = [(a.double() - b).norm() / b.norm() for a, b in zip(found, expected, strict=True)]
    return max(float(value) for value in errors)


def run(spec, target, inputs, like):
    outputs = [tvm.runtime.tensor(np.full(value.shape, np.nan, np.float32)) for value in like]
    executable = compile_kernel(build(spec, target), target)
    executable(*(tvm.runtime.tensor(value.numpy()) for value in inputs), *outputs)
    return [torch.from_numpy(value.numpy()) for value in outputs]


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("hidden", [1, 7, 16, 33, 64])
def test_hidden_sizes(hidden, target):
    assert scan("lstm", 2, 3, 5, hidden, initial=(True, True), target=target) <= 1e-6
    assert scan("gru", 2, 3, 5, hidden, initial=(True,), bias=True, target=target) <= 1e-6


@pytest.mark.parametrize("batch", [1, 2, 6, 7, 13])
@pytest.mark.parametrize("varies", [False, True])
def test_batches(batch, varies):
    assert scan("lstm", 1, batch, 4, 20, initial=(False, True), varies=varies) <= 1e-6
    assert scan("gru", 2, batch, 4, 20, initial=(False,), varies=varies) <= 1e-6


@pytest.mark.parametrize("time", [1, 2, 9])
def test_time_first(time):
    assert scan("lstm", 2, 3, time, 24, batch_first=False, initial=(True, False)) <= 1e-6


def test_a_scan_on_threads():
    assert scan("lstm", 2, 9, 40, 96, initial=(False, False)) <= 1e-6


def test_the_packed_weight_is_whole():
    weight = np.arange(2 * 4 * 20 * 20, dtype=np.float32).reshape(2, 80, 20)
    packed = pack(weight).reshape(2, -1, 20, 4, block_of(20))
    units = packed.transpose(0, 3, 1, 4, 2).reshape(2, 4, -1, 20)
    np.testing.assert_array_equal(units[:, :, :20].reshape(2, 80, 20), weight)
    assert not units[:, :, 20:].any()

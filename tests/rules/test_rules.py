"""Every claim of every rule, on random calls of the real operator with random facts."""

import os
import random

import pytest
import torch
from torch import Tensor

from sparsecomp.facts import AxisFacts
from sparsecomp.passes.narrow import Narrowing
from sparsecomp.rules import RULES
from sparsecomp.rules.call import Value
from sparsecomp.rules.coupling import Coupling
from sparsecomp.rules.propagate import backward_call, constants
from sparsecomp.rules.samples import batch_size, sample_axes
from tests.rules.cases import CASES
from tests.rules.harness import Experiment, experiment

FEW = 12
FULL = 200
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}
OPERATORS = sorted(RULES, key=str)


def test_every_rule_has_a_case_and_there_are_a_hundred() -> None:
    assert set(RULES) == set(CASES)
    assert len(RULES) >= 100


@pytest.mark.parametrize("overload", OPERATORS, ids=str)
def test_claims_hold(overload: object) -> None:
    check(overload, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("overload", OPERATORS, ids=str)
def test_claims_hold_on_many_cases(overload: object) -> None:
    check(overload, FULL)


def check(overload: object, count: int) -> None:
    first = int(os.environ.get("RULE_SEED", "0"))
    for seed in range(first, first + count):
        rng = random.Random(f"{overload} {seed}")
        e = experiment(overload, CASES[overload](rng), rng)
        check_forward(e)
        check_backward(e, rng)
        check_samples(e)
        check_narrow(e, rng)


def check_forward(e: Experiment) -> None:
    for result, value in zip(e.run(), e.application.call.outputs, strict=True):
        for axis in range(result.dim()):
            known = e.table.axis(value, axis)
            if known is not None:
                assert_claim(known, result.movedim(axis, 0).flatten(1) if result.dim() > 1 else result[:, None])


def assert_claim(known: AxisFacts, rows: Tensor) -> None:
    assert known.value.dtype == rows.dtype
    constant = known.value[:, None].expand_as(rows)[known.constant]
    torch.testing.assert_close(rows[known.constant], constant, **TOLERANCE)
    torch.testing.assert_close(rows, rows[known.classes], **TOLERANCE, equal_nan=True)


def check_backward(e: Experiment, rng: random.Random) -> None:
    """What is not read may be anything: results that are wanted and not known do not change."""
    call = e.application.call
    reads = {
        (value, axis): torch.zeros(value.shape[axis], dtype=torch.bool)
        for value in {*call.inputs, *call.outputs}
        for axis in range(len(value.shape))
    }
    for value in call.outputs:
        for axis in range(len(value.shape)):
            reads[value, axis] |= random_mask(value.shape[axis], rng)
    backward_call(e.application, e.table, reads)
    changed = [disturb(e, Value(n), x, reads) for n, x in zip(e.program.placeholders(), e.inputs, strict=True)]
    for before, after, value in zip(e.run(), e.run(changed), call.outputs, strict=True):
        for axis in range(before.dim()):
            known = e.table.axis(value, axis)
            wanted = reads[value, axis] & ~known.constant if known is not None else reads[value, axis]
            before, after = (each.index_select(axis, wanted.nonzero().flatten()) for each in (before, after))
        torch.testing.assert_close(after, before, **TOLERANCE, equal_nan=True)


def disturb(e: Experiment, value: Value, data: Tensor, reads: dict[tuple[Value, int], Tensor]) -> Tensor:
    """New elements in slices that are not read; those that are known stay, and so do those that equal others."""
    data = data.clone()
    if not data.is_floating_point():
        return data
    for axis in range(data.dim()):
        known = e.table.known(value, axis)
        alone = torch.bincount(known.classes, minlength=known.size)[known.classes] == 1
        for i in (~reads[value, axis] & ~known.constant & alone).nonzero().flatten():
            fixed = constant_elements(e, value, data)
            piece = data.select(axis, int(i))
            piece.copy_(torch.where(fixed.select(axis, int(i)), piece, piece.abs() * 0.9 + 0.07))
    return data


def constant_elements(e: Experiment, value: Value, data: Tensor) -> Tensor:
    """Elements that other facts speak of."""
    fixed = torch.zeros_like(data, dtype=torch.bool)
    for axis in range(data.dim()):
        known = e.table.known(value, axis)
        shape = [-1 if i == axis else 1 for i in range(data.dim())]
        fixed |= (known.constant | (known.classes != torch.arange(known.size))).reshape(shape)
        if known.says_something():
            repeated = torch.bincount(known.classes, minlength=known.size)[known.classes] > 1
            fixed |= repeated.reshape(shape)
    return fixed


def check_narrow(e: Experiment, rng: random.Random) -> None:
    """The narrowed call on narrowed inputs gives the slices that stayed."""
    expected = e.run()
    call = e.application.call
    wanted = {
        (value, axis): random_mask(value.shape[axis], rng) for value in call.outputs for axis in range(len(value.shape))
    }
    coupling = Coupling(e.program.module, e.calls, e.table, free_inputs=True, wanted=wanted)
    narrowing = Narrowing(e.program, coupling)
    inputs = [narrow(narrowing, Value(n), x) for n, x in zip(e.program.placeholders(), e.inputs, strict=True)]
    kept = [narrow(narrowing, value, x) for value, x in zip(call.outputs, expected, strict=True)]
    narrowing.apply()
    for key, mask in wanted.items():
        assert bool((~mask | coupling.kept(*key)).all()), "a wanted slice went"
    e.program.module.recompile()
    for after, before in zip(e.run(inputs), kept, strict=True):
        torch.testing.assert_close(after, before, **TOLERANCE, equal_nan=True)


def check_samples(e: Experiment) -> None:
    """Where samples are proved to be treated alone and alike, exchanging them exchanges their results."""
    axes = sample_axes(e.program.module, e.calls, constants(e.program.module, e.calls))
    batch = batch_size(e.program.module)
    if axes is None or batch is None:
        return
    order = torch.arange(batch).roll(1)
    nodes = zip(e.program.placeholders(), e.inputs, strict=True)
    exchanged = [x[order] if (Value(node), 0) in axes else x for node, x in nodes]
    for after, before in zip(e.run(exchanged), e.run(), strict=True):
        torch.testing.assert_close(after, before[order], **TOLERANCE, equal_nan=True)


def narrow(narrowing: Narrowing, value: Value, data: Tensor) -> Tensor:
    for axis in range(data.dim()):
        data = data.index_select(axis, narrowing.indices(value, axis))
    return data


def random_mask(size: int, rng: random.Random) -> Tensor:
    mask = torch.tensor([rng.random() < 0.7 for _ in range(size)], dtype=torch.bool)
    if size:
        mask[rng.randrange(size)] = True
    return mask

"""The polynomials against double precision over the whole range, and at its limits."""

import numpy as np
import pytest
import torch
from tvm import tirx

from sparsecomp.schedules.finish import finish
from sparsecomp.schedules.loops import function, load, loop, scratch, store
from sparsecomp.schedules.math import exp_below_zero, fast_erf, fast_exp, fast_tanh, sigmoid
from tests.schedules.reference import HOST, call

EXACT = {fast_exp: torch.exp, fast_erf: torch.erf, fast_tanh: torch.tanh, sigmoid: torch.sigmoid}
LIMITS = torch.tensor([0.0, -0.0, float("inf"), float("-inf"), 1e-30, -1e-30, 89.0, -104.0, 1e30, -1e30])


def applied(builder, values):
    size = len(values)
    x, out = scratch([size], "x"), scratch([size], "out")
    nest = loop(size, lambda i: store(out, [i], builder(load(x, [i]))))
    return call(finish(function([x, out], nest, "kernel"), HOST), values, shape=(size,))


@pytest.mark.parametrize("builder", EXACT, ids=lambda b: b.__name__)
def test_relative_error_is_a_few_units_in_the_last_place(builder):
    tiny = np.logspace(-20, 0, 20001)
    values = torch.tensor(np.concatenate([np.linspace(-87, 87, 200001), tiny, -tiny]), dtype=torch.float32)
    exact = EXACT[builder](values.double())
    normal = exact.abs() > 1.2e-38
    relative = ((applied(builder, values).double() - exact) / exact).abs()[normal]
    assert relative.max() < 5e-7


@pytest.mark.parametrize("builder", EXACT, ids=lambda b: b.__name__)
def test_limits(builder):
    found, exact = applied(builder, LIMITS), EXACT[builder](LIMITS)
    assert torch.allclose(found, exact, rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("builder", EXACT, ids=lambda b: b.__name__)
def test_not_a_number_stays_one(builder):
    assert applied(builder, torch.full((20,), float("nan"))).isnan().all()


def test_exp_below_zero():
    values = torch.tensor(
        np.concatenate([np.linspace(-87, 0, 200001), -np.logspace(-20, 0, 2001)]), dtype=torch.float32
    )
    exact = values.double().exp()
    assert ((applied(exp_below_zero, values).double() - exact) / exact).abs().max() < 5e-7
    far = applied(exp_below_zero, torch.tensor([-88.0, -1e30, float("-inf"), float("nan")]))
    assert far[:3].max() < 1.2e-38
    assert far[3].isnan()


def test_a_vector_type_gives_a_vector():
    x = tirx.Var("x", "float32x8")
    assert str(fast_exp(x).ty.dtype) == "float32x8"

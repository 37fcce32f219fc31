"""exp, erf, tanh and sigmoid as polynomials that a compiler can vectorise.

LLVM has no vector form of these: a call in a vectorised loop becomes one libm call a lane. The builders here take and
give an expression of type float32, scalar or vector. Relative error is at most 4e-7; exp overflows to infinity where
float32 does and is zero where it is not normal, tanh and erf saturate at one, NaN stays NaN.
"""

from collections.abc import Callable

from tvm import ir, tirx
from tvm.ir import prim

from sparsecomp.schedules.rewrite import Expr

LOG2_E, LN2_HIGH, LN2_LOW = 1.4426950408889634, 0.693145751953125, 1.428606820309417e-06
# exp is normal between these; what is above is infinite, and what is below is flushed to zero.
EXP_LOW, EXP_HIGH = -87.33654, 88.72283
ROUND = 1.5 * 2**23  # a sum with it is rounded to an integer, since float32 has no bits for fractions there
# Minimax of (exp(r) - 1 - r) / r^2 over |r| <= ln(2) / 2.
EXP = (0.49999993, 0.16666521, 0.04166839, 0.00836872, 0.00138146)
# Minimax rational functions of z = x^2: erf(x) / x for |x| <= 3.92, tanh(x) / x for |x| <= 9.
ERF_LIMIT, TANH_LIMIT = 3.92, 9.0
ERF_OVER = (1.1283791462207466, 0.19039746138, 0.052747364423, 0.00376518561, 0.00028486562767, 2.05005909286e-06)
ERF_UNDER = (1.0, 0.50206809991, 0.114105238448, 0.0149683571963, 0.0011624171993, 3.80905303367e-05)
TANH_OVER = (0.999999979449, 0.133810271277, 0.00349558979244, 2.06091053266e-05, 1.33546852904e-08)
TANH_UNDER = (1.0, 0.467143427215, 0.025876988807, 0.000328563735224, 7.77656973594e-07)


def _const(value: float, like: Expr) -> Expr:
    return tirx.const(value, like.ty.dtype)


def _horner(z: Expr, coefficients: tuple[float, ...]) -> Expr:
    result = _const(coefficients[-1], z)
    for c in coefficients[-2::-1]:
        result = result * z + _const(c, z)
    return result


def _let(name: str, value: Expr, body: Callable[[tirx.Var], Expr]) -> Expr:
    """``body(value)`` with ``value`` evaluated once."""
    var = tirx.Var(name, value.ty)
    return prim.Let(var, value, body(var))


def _clamp(x: Expr, limit: float) -> Expr:
    # The variable stands second so that a NaN, for which no comparison holds, comes through.
    return tirx.max(_const(-limit, x), tirx.min(_const(limit, x), x))


def _integer_type(x: Expr) -> str:
    return str(x.ty.dtype).replace("float", "int")


def fast_exp(x: Expr) -> Expr:
    """exp(x) = 2^n * exp(r), the power added to the exponent bits."""

    def body(v: tirx.Var) -> Expr:
        value = _exp_in_range(v)
        value = tirx.Select(v > _const(EXP_HIGH, v), _const(float("inf"), v), value)
        return tirx.Select(v < _const(EXP_LOW, v), _const(0.0, v), value)

    return _let("x", x, body)


def exp_below_zero(x: Expr) -> Expr:
    """exp(x) of what is at most zero; where float32 has no normal number for it, the least of those and not zero."""
    return _let("x", tirx.max(_const(EXP_LOW, x), x), _exp_in_range)


def _exp_in_range(v: tirx.Var) -> Expr:
    """Without a thought of overflow. The sum with ``ROUND`` has the nearest integer in its low bits."""
    kind = _integer_type(v)

    def scaled(shifted: tirx.Var, r: tirx.Var) -> Expr:
        value = _horner(r, EXP) * (r * r) + r + _const(1.0, r)
        power = tirx.reinterpret(kind, shifted) << tirx.const(23, kind)
        return tirx.reinterpret(v.ty.dtype, tirx.reinterpret(kind, value) + power)

    def reduced(shifted: tirx.Var) -> Expr:
        n = shifted - _const(ROUND, v)
        rest = _let("n", n, lambda n: (v - n * _const(LN2_HIGH, v)) - n * _const(LN2_LOW, v))
        return _let("r", rest, lambda r: scaled(shifted, r))

    return _let("shifted", v * _const(LOG2_E, v) + _const(ROUND, v), reduced)


def _odd_rational(x: Expr, limit: float, over: tuple[float, ...], under: tuple[float, ...]) -> Expr:
    def body(v: tirx.Var) -> Expr:
        return _let("z", v * v, lambda z: _clamp(v * _horner(z, over) / _horner(z, under), 1.0))

    return _let("x", _clamp(x, limit), body)


def fast_erf(x: Expr) -> Expr:
    """erf(x), an odd rational function."""
    return _odd_rational(x, ERF_LIMIT, ERF_OVER, ERF_UNDER)


def fast_tanh(x: Expr) -> Expr:
    """tanh(x), an odd rational function."""
    return _odd_rational(x, TANH_LIMIT, TANH_OVER, TANH_UNDER)


def sigmoid(x: Expr) -> Expr:
    """1 / (1 + exp(-x))."""
    return _const(1.0, x) / (_const(1.0, x) + fast_exp(_const(0.0, x) - x))


FAST: dict[str, Callable[[Expr], Expr]] = {
    "tirx.exp": fast_exp,
    "tirx.erf": fast_erf,
    "tirx.tanh": fast_tanh,
    "tirx.sigmoid": sigmoid,
}


def polynomial(node: Expr) -> Expr:
    """``node``, or the polynomial where it is a float32 call of a function in `FAST`; for `rewrite.map_expr`."""
    if not isinstance(node, ir.Call) or not isinstance(node.op, ir.Op) or node.op.name not in FAST:
        return node
    if str(node.ty.dtype).split("x")[0] != "float32":
        return node
    return FAST[node.op.name](node.args[0])

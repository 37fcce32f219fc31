"""The functions an epilogue may apply, as vector expressions without calls."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm import tirx

from sparsecomp.kernels.emit import Expr, fence, fma, let, shuffle, splat, vector_type
from sparsecomp.kernels.problem import Epilogue
from sparsecomp.schedules.math import ROUND, TANH_LIMIT, TANH_OVER, TANH_UNDER

# erf(z) / z as a polynomial of 2 z^2 / ERF_LIMIT^2 - 1, which is in [-1, 1]; the coefficient of the lowest power first.
# Fitted so that the largest error of erf is least: 4e-7, as much as erf(ERF_LIMIT) lacks of 1.
ERF_LIMIT = 3.6
ERF = (
    0.392712031,
    -0.195488574,
    0.143818796,
    -0.11385342,
    0.0897068545,
    -0.0675117709,
    0.0487973321,
    -0.0344702124,
    0.0201652325,
    -0.00818570799,
    0.00562991519,
    -0.00578934615,
    0.0022466672,
)

# exp(r) on |r| <= ln(2) / 2, fitted so that the largest relative error is least (1e-7) and that of 0 is none.
EXP = (1.0, 0.999999707, 0.499991492, 0.166676364, 0.0418979747, 0.00829032076)
EXPONENT_OF_ONE = 127  # in the bits of a float32


@dataclass(frozen=True)
class Sums:
    """A vector of complete sums, and what an epilogue adds to it: given where it has them."""

    value: Expr
    bias: Expr | None = None
    residual: Expr | None = None


def is_long(epilogue: Epilogue) -> bool:
    """Whether the code of an epilogue should be in a loop rather than be repeated for each register."""
    return epilogue.activation not in (None, "relu", "relu6", "clamp")


def at_once(epilogue: Epilogue) -> int:
    """How many vectors are to be finished at once: where the code is long, some are computed while others wait."""
    return 4 if is_long(epilogue) else 1


def rows_at_once(epilogue: Epilogue, vectors: int) -> int:
    """How many rows of so many vectors are to be finished at once."""
    return max(1, at_once(epilogue) // vectors)


def rows_in_loop(epilogue: Epilogue, vectors: int) -> int:
    """How many rows of so many vectors a loop finishes in each step; 0 is no loop: each from its registers."""
    return rows_at_once(epilogue, vectors) if is_long(epilogue) else 0


def finish(sums: Sequence[Sums], epilogue: Epilogue, lanes: int) -> list[Expr]:
    """Apply an epilogue to vectors, as many at once as there are, in powers of two that the hardware can divide."""
    found: list[Expr] = []
    while len(found) < len(sums):
        left = len(sums) - len(found)
        count = min(at_once(epilogue) if lanes > 1 else 1, 1 << left.bit_length() - 1)
        found += _finish_joined(sums[len(found) :][:count], epilogue, lanes)
    return found


def _finish_joined(sums: Sequence[Sums], epilogue: Epilogue, lanes: int) -> list[Expr]:
    def joined(vectors: list[Expr]) -> Expr:
        return vectors[0] if len(vectors) == 1 else shuffle(vectors, list(range(len(sums) * lanes)))

    value = joined([each.value for each in sums])
    if epilogue.bias:
        value = value + joined([each.bias for each in sums])
    residual = joined([each.residual for each in sums]) if epilogue.residual else None
    if residual is not None and not epilogue.residual_last:
        value = value + residual
    # TVM replaces a name by what it stands for when it simplifies, over and over: it is not to look behind these.
    together = len(sums) * lanes
    value = activate(fence(value, together) if is_long(epilogue) else let("sum", value), epilogue, together)
    if residual is not None and epilogue.residual_last:
        value = value + residual
    if len(sums) == 1:
        return [value]
    value = fence(value, together)
    return [shuffle([value], list(range(i * lanes, (i + 1) * lanes))) for i in range(len(sums))]


def activate(x: Expr, epilogue: Epilogue, lanes: int) -> Expr:
    """The activation of an epilogue."""

    def const(value: float) -> Expr:
        return splat(value, lanes)

    def clamp(v: Expr, low: float, high: float) -> Expr:
        return tirx.min(tirx.max(v, const(low)), const(high))

    table: dict[str | None, Callable[[], Expr]] = {
        None: lambda: x,
        "relu": lambda: tirx.max(x, const(0.0)),
        "relu6": lambda: clamp(x, 0.0, 6.0),
        "clamp": lambda: clamp(x, epilogue.low, epilogue.high),
        "sigmoid": lambda: sigmoid(x, lanes),
        "tanh": lambda: tanh(x, lanes),
        "silu": lambda: x / _one_and_exp_minus(x, lanes),
        "gelu": lambda: _gelu(x, lanes),
        "gelu_tanh": lambda: x * sigmoid(_gelu_inner(x, lanes), lanes),
        "hardsigmoid": lambda: clamp(x + const(3.0), 0.0, 6.0) * const(1 / 6),
        "hardswish": lambda: x * (clamp(x + const(3.0), 0.0, 6.0) * const(1 / 6)),
    }
    return table[epilogue.activation]()


def _one_and_exp_minus(x: Expr, lanes: int) -> Expr:
    """``1 + exp(-x)``, to 5e-7 of the value: a power of two times a polynomial on ``|r| <= ln(2) / 2``.

    The sum with a large number has the nearest integer in its low bits, those of the exponent of the power. What ln(2)
    lacks as a float32 is 2e-9: the rest needs no second step.
    """

    def const(value: float) -> Expr:
        return splat(value, lanes)

    x = let("x", tirx.min(tirx.max(x, const(-88.0)), const(87.0)))
    shifted = fence(fma(x, const(-1 / math.log(2)), const(ROUND + EXPONENT_OF_ONE), lanes), lanes)
    minus_rest = let("rest", fma(shifted - const(ROUND + EXPONENT_OF_ONE), const(math.log(2)), x, lanes))
    series = _horner(minus_rest, tuple(c * (-1) ** i for i, c in enumerate(EXP)), lanes)
    bits = tirx.reinterpret(vector_type("int32", lanes), shifted) << splat(tirx.const(23, "int32"), lanes)
    return fma(series, tirx.reinterpret(vector_type("float32", lanes), bits), const(1.0), lanes)


def sigmoid(x: Expr, lanes: int) -> Expr:
    """``1 / (1 + exp(-x))``."""
    return splat(1.0, lanes) / _one_and_exp_minus(x, lanes)


def tanh(x: Expr, lanes: int) -> Expr:
    """An odd rational function, exact to 4e-7 of the value, near zero too."""
    limit, one = splat(TANH_LIMIT, lanes), splat(1.0, lanes)
    x = let("x", tirx.max(tirx.min(x, limit), splat(-TANH_LIMIT, lanes)))
    z = let("z", x * x)
    value = x * _polynomial(z, TANH_OVER, lanes) / _polynomial(z, TANH_UNDER, lanes)
    return tirx.max(tirx.min(value, one), splat(-1.0, lanes))


def _polynomial(x: Expr, coefficients: tuple[float, ...], lanes: int) -> Expr:
    """By Horner's scheme in three chains of every third coefficient each: in one, each step waits for the one before.

    Estrin's scheme waits less, and takes more instructions: it overwrites values that are still needed.
    """
    square = let("square", x * x)
    cube = let("cube", square * x)
    low, middle, high = (_horner(cube, coefficients[i::3], lanes) for i in range(3))
    return low + let("sum", middle + high * x) * x


def _horner(x: Expr, coefficients: tuple[float, ...], lanes: int) -> Expr:
    total = splat(coefficients[-1], lanes)
    for each in coefficients[-2::-1]:
        total = let("sum", splat(each, lanes) + total * x)
    return total


def _gelu_inner(x: Expr, lanes: int) -> Expr:
    """``2 sqrt(2 / pi) (x + 0.044715 x^3)``: GELU by tanh is x times the sigmoid of it."""
    scale = 2 * math.sqrt(2 / math.pi)
    return x * (splat(scale, lanes) + x * x * splat(0.044715 * scale, lanes))


def _gelu(x: Expr, lanes: int) -> Expr:
    """``x (1 / 2 + erf(x / sqrt(2)) / 2)``; erf to 6e-7 by a polynomial, which needs neither a division nor exp."""
    limit = ERF_LIMIT * math.sqrt(2)
    t = let("t", tirx.max(tirx.min(x, splat(limit, lanes)), splat(-limit, lanes)))
    s = let("s", t * t * splat(2 / limit**2, lanes) - splat(1.0, lanes))
    series = _polynomial(s, tuple(c / math.sqrt(8) for c in ERF), lanes)
    return x * (t * series + splat(0.5, lanes))

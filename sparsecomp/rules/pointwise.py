"""Operators that work on each element alone, with broadcasting.

A result slice is constant if it is made of constants: the operator itself is run on them, so ``sigmoid(0) = 0.5``
needs no line of its own. As constants hold only up to rounding, and zero has either sign, a claim is made only if
small changes of the constants change the result little: nothing is claimed at a step of ``floor`` or for ``1 / 0``.
"""

from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from sparsecomp.facts import AxisFacts, TensorFacts
from sparsecomp.rules.base import Rule, register
from sparsecomp.rules.call import Call, Value, value_of
from sparsecomp.rules.relation import Relation, relate
from sparsecomp.rules.table import FactTable

aten = torch.ops.aten
_NUDGE = 1e-6
_TOLERANCE = 1e-4


def broadcast(call: Call) -> Relation:
    """All tensors aligned from the right."""
    return relate(",".join(["..."] * len(call.inputs)) + " -> ...", call.inputs, call.outputs)


def pointwise_forward(call: Call, relation: Relation, facts: FactTable) -> list[TensorFacts]:
    """Constant where all operands are, equal where all operands are."""
    value = call.output
    return [tuple(_axis(call, relation, facts, axis) for axis in range(len(value.shape)))]


def _axis(call: Call, relation: Relation, facts: FactTable, axis: int) -> AxisFacts | None:
    size = call.output.size(axis)
    if size is None:
        return None
    seen = [operand_facts(call, relation, facts, role, axis, size) for role in range(len(call.inputs))]
    labels = torch.stack([known.classes for known in seen], dim=1)
    constant = torch.stack([known.constant for known in seen]).all(dim=0)
    if not bool(constant.any()):
        return AxisFacts.of(constant, torch.zeros(size, dtype=call.output.dtype), labels)
    result = evaluate(call, dict(zip(call.inputs, seen, strict=True)))
    if result is None:
        return AxisFacts.of(torch.zeros_like(constant), torch.zeros(size, dtype=call.output.dtype), labels)
    return AxisFacts.of(constant & result[1], result[0], labels)


def operand_facts(call: Call, relation: Relation, facts: FactTable, role: int, axis: int, size: int) -> AxisFacts:
    """What is known of an operand along an axis of the result. Where it is broadcast, all slices are equal."""
    value = call.inputs[role]
    variable = next((k.parts[0][0] for k in relation.of_role(0, is_output=True) if k.axis == axis), None)
    for link in relation.of_role(role, is_output=False):
        if link.parts[0][0] == variable:
            return facts.known(value, link.axis)
    number = facts.uniform(value)
    if number is not None:
        return AxisFacts.of(torch.ones(size, dtype=torch.bool), number.expand(size))
    same = torch.zeros(size, dtype=torch.int64) if _is_broadcast(call, value, axis) else torch.arange(size)
    return AxisFacts.of(torch.zeros(size, dtype=torch.bool), torch.zeros(size, dtype=value.dtype), same)


def _is_broadcast(call: Call, value: Value, axis: int) -> bool:
    aligned = axis - (len(call.output.shape) - len(value.shape))
    return aligned < 0 or value.size(aligned) == 1


def evaluate(call: Call, operands: dict[Value, AxisFacts]) -> tuple[Tensor, Tensor] | None:
    """Run the operator on the constants: the results, and where they may be claimed. None if it cannot be run."""
    results = [_run(call, operands, nudge) for nudge in (0.0, _NUDGE, -_NUDGE)]
    if any(result is None for result in results):
        return None
    result, *others = (each for each in results if each is not None)
    steady = torch.ones_like(result, dtype=torch.bool)
    for other in others:
        if result.is_floating_point():
            close = torch.isclose(result, other, rtol=_TOLERANCE, atol=_TOLERANCE)
            steady &= close & ((result == 0) == (other == 0)) & result.isfinite()
        else:
            steady &= result == other
    return result, steady


def _run(call: Call, operands: dict[Value, AxisFacts], nudge: float) -> Tensor | None:
    """The operator on vectors of constants, changed by a small factor to and fro, and in the sign of zero."""
    sign = 1.0
    arguments: dict[str, Any] = {}
    for name, argument in call.arguments.items():
        value = value_of(argument)
        if value is None:
            if isinstance(argument, (Node, list, tuple)):
                return None
            arguments[name] = argument
            continue
        numbers = operands[value].value
        numbers = numbers[0] if not value.shape else numbers
        if numbers.is_floating_point() and nudge:
            numbers = numbers * (1 + sign * nudge)
            numbers = torch.where(numbers == 0, torch.full_like(numbers, -0.0) if nudge < 0 else numbers, numbers)
            sign = -sign
        arguments[name] = numbers
    result: Any = call.target(**arguments)
    size = max(known.size for known in operands.values())
    return result.expand(size).clone() if isinstance(result, Tensor) else None


def _times(call: Call, relation: Relation, facts: FactTable) -> list[TensorFacts]:
    """As any pointwise operator, and zero where one factor is zero and the other is finite."""
    plain = pointwise_forward(call, relation, facts)[0]
    if len(call.inputs) < 2 or not all(facts.finite(value) for value in call.inputs):
        return [plain]
    found = list(plain)
    for axis, known in enumerate(plain):
        if known is not None:
            seen = [operand_facts(call, relation, facts, role, axis, known.size).zero for role in (0, 1)]
            zero = seen[0] | seen[1]
            found[axis] = AxisFacts.of(
                known.constant | zero, torch.where(zero, torch.zeros_like(known.value), known.value), known.classes
            )
    return [tuple(found)]


def _choose(call: Call, relation: Relation, facts: FactTable) -> list[TensorFacts]:
    """``where``: as any pointwise operator, and what both choices have in common, or the one that is always taken."""
    plain = pointwise_forward(call, relation, facts)[0]
    found = list(plain)
    for axis, known in enumerate(plain):
        if known is None:
            continue
        which, one, other = (operand_facts(call, relation, facts, role, axis, known.size) for role in range(3))
        value = torch.where(which.constant & ~which.value.bool(), other.value, one.value).to(call.output.dtype)
        always = torch.where(which.value.bool(), one.constant, other.constant) & which.constant
        either = one.constant & other.constant & (one.value == other.value)
        found[axis] = AxisFacts.of(known.constant | always | either, value, known.classes)
    return [tuple(found)]


POINTWISE = Rule(broadcast, pointwise_forward)
register(Rule(broadcast, _times), aten.mul.Tensor, aten.multiply.Tensor, aten.logical_and.default)
register(Rule(broadcast, _choose), aten.where.self)
register(
    POINTWISE,
    *(aten.add.Tensor, aten.add.Scalar, aten.sub.Tensor, aten.sub.Scalar, aten.rsub.Scalar, aten.rsub.Tensor),
    *(aten.mul.Scalar, aten.div.Tensor, aten.div.Scalar, aten.div.Tensor_mode, aten.true_divide.Tensor),
    *(aten.floor_divide.default, aten.remainder.Scalar, aten.remainder.Tensor, aten.fmod.Scalar, aten.fmod.Tensor),
    *(aten.pow.Tensor_Scalar, aten.pow.Tensor_Tensor, aten.pow.Scalar, aten.square.default, aten.maximum.default),
    *(aten.minimum.default, aten.addcmul.default, aten.addcdiv.default, aten.lerp.Scalar, aten.lerp.Tensor),
    *(aten.neg.default, aten.abs.default, aten.reciprocal.default, aten.sqrt.default, aten.rsqrt.default),
    *(aten.exp.default, aten.exp2.default, aten.expm1.default, aten.log.default, aten.log1p.default, aten.log2.default),
    *(aten.sin.default, aten.cos.default, aten.tan.default, aten.tanh.default, aten.atan.default, aten.sinh.default),
    *(aten.cosh.default, aten.erf.default, aten.erfc.default, aten.sigmoid.default, aten.log_sigmoid.default),
    *(
        aten.floor.default,
        aten.ceil.default,
        aten.round.default,
        aten.trunc.default,
        aten.frac.default,
        aten.sign.default,
    ),
    *(aten.relu.default, aten.relu6.default, aten.leaky_relu.default, aten.elu.default, aten.selu.default),
    *(aten.celu.default, aten.gelu.default, aten.silu.default, aten.mish.default, aten.softplus.default),
    *(aten.hardtanh.default, aten.hardswish.default, aten.hardsigmoid.default, aten.softshrink.default),
    *(aten.hardshrink.default, aten.threshold.default, aten.clamp.default, aten.clamp.Tensor, aten.clamp_min.default),
    *(aten.clamp_max.default, aten.logical_not.default, aten.logical_or.default, aten.logical_xor.default),
    *(
        aten.bitwise_and.Tensor,
        aten.bitwise_or.Tensor,
        aten.bitwise_not.default,
        aten.isnan.default,
        aten.isinf.default,
    ),
    *(aten.eq.Scalar, aten.ne.Scalar, aten.lt.Scalar, aten.le.Scalar, aten.gt.Scalar, aten.ge.Scalar),
    *(aten.eq.Tensor, aten.ne.Tensor, aten.lt.Tensor, aten.le.Tensor, aten.gt.Tensor, aten.ge.Tensor),
    *(aten.masked_fill.Scalar, aten.masked_fill.Tensor, aten.where.ScalarOther, aten.where.ScalarSelf),
    *(aten.to.dtype, aten.to.dtype_layout, aten._to_copy.default, aten.nan_to_num.default),
    *(aten.zeros_like.default, aten.ones_like.default, aten.full_like.default),
)

"""Linear layers and matrix products."""

from collections.abc import Callable

import torch
from torch import Tensor

from sparsecomp.rules.affine import Affine, affine_rule
from sparsecomp.rules.base import Cut, Relate, Rule, register
from sparsecomp.rules.call import Call, Value
from sparsecomp.rules.contraction import axes, contraction
from sparsecomp.rules.relation import Relation, relate
from sparsecomp.rules.table import FactTable

aten = torch.ops.aten


def _linear_relation(call: Call) -> Relation:
    weight, bias = call.tensor("weight"), call.value("bias")
    equation = "... c, n c, n -> ... n" if len(weight.shape) == 2 else "... c, c, -> ..."
    return relate(equation, [call.tensor("input"), weight, bias], call.outputs)


def _linear(call: Call, facts: FactTable) -> Affine | None:
    weight, bias = call.tensor("weight"), call.value("bias")
    data = facts.data(weight)
    added = facts.data(bias) if bias is not None else None
    if data is None or data.dim() != 2 or (bias is not None and added is None):
        return None
    source = call.tensor("input")
    return Affine(
        source=(source, len(source.shape) - 1),
        parameter=(weight, 1),
        target_axis=len(call.output.shape) - 1,
        weight=data[None, :, :, None],
        bias=added if added is not None else torch.zeros(data.shape[0], dtype=data.dtype),
        even=True,
    )


def add_to_argument(name: str) -> Callable[[Call, Cut, Affine, Tensor], None]:
    """Add a vector over the kept result channels to the bias that the operator takes as an argument."""

    def add_bias(call: Call, cut: Cut, affine: Affine, extra: Tensor) -> None:
        kept = cut.indices(call.output, affine.target_axis)
        call.rewrite(**{name: cut.constant(call.node, "bias", affine.bias.index_select(0, kept) + extra)})

    return add_bias


def add_after(call: Call, cut: Cut, affine: Affine, extra: Tensor) -> None:
    """Add a vector over the kept result channels to the result of an operator that takes no bias."""
    behind = len(call.output.shape) - 1 - affine.target_axis
    constant = cut.constant(call.node, "bias", extra.reshape([-1] + [1] * behind))
    cut.append(call.output, aten.add.Tensor, constant)


def _addmm_relation(call: Call) -> Relation:
    added = call.tensor("self")
    text = ["", "n", "m n"][len(added.shape)]
    return relate(f"{text}, m c, c n -> m n", [added, call.tensor("mat1"), call.tensor("mat2")], call.outputs)


def _addmm(call: Call, facts: FactTable) -> Affine | None:
    weight, bias, source = call.tensor("mat2"), call.tensor("self"), call.tensor("mat1")
    data, added = facts.data(weight), facts.data(bias)
    if data is None or added is None or added.shape != data.shape[1:] or call["alpha"] != 1 or call["beta"] != 1:
        return None
    return Affine((source, 1), (weight, 0), 1, data.t()[None, :, :, None], added, even=True)


def _product_relation(call: Call) -> Relation:
    one, other = call.inputs
    match len(one.shape), len(other.shape):
        case 1, 1:
            equation = "c, c -> "
        case 1, _:
            equation = "c, ... c n -> ... n"
        case _, 1:
            equation = "... m c, c -> ... m"
        case _:
            equation = "... m c, ... c n -> ... m n"
    if _parameter_side(call) == 0:
        equation = equation.translate(str.maketrans("mn", "nm"))
    return relate(equation, [one, other], call.outputs)


def _parameter_side(call: Call) -> int | None:
    """Which operand is a parameter matrix; the other one is the activation."""
    flags = [value.node.op == "get_attr" and len(value.shape) == 2 for value in call.inputs]
    return 1 if flags[1] else 0 if flags[0] and len(call.inputs[1].shape) > 1 else None


def _product(call: Call, facts: FactTable) -> Affine | None:
    side = _parameter_side(call)
    if side is None:
        return None
    weight, source = call.inputs[side], call.inputs[1 - side]
    data = facts.data(weight)
    if data is None:
        return None
    matrix = data.t() if side == 1 else data
    behind = 1 if side == 1 else 2
    return Affine(
        source=(source, len(source.shape) - behind),
        parameter=(weight, 1 - side),
        target_axis=len(call.output.shape) - behind,
        weight=matrix[None, :, :, None],
        bias=torch.zeros(matrix.shape[0], dtype=matrix.dtype),
        even=True,
    )


def _product_rule(relation_of: Relate) -> Rule:
    """Affine where one operand is a parameter; a plain product otherwise, which knows more than affine's fallback."""
    affine, plain = affine_rule(relation_of, _product, add_after), contraction(relation_of)
    return Rule(
        relation_of,
        lambda call, relation, facts: (plain if _product(call, facts) is None else affine).forward(
            call, relation, facts
        ),
        affine.demand,
        affine.narrow,
    )


def _einsum_relation(call: Call) -> Relation:
    text = str(call["equation"]).replace(" ", "")
    if "->" not in text:
        letters = text.replace(",", "").replace("...", "")
        alone = "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
        text += "->" + ("..." if "..." in text else "") + alone
    left, right = text.split("->")
    operands = [_spaced(operand) for operand in left.split(",")]
    if any(len(set(operand.split())) < len(operand.split()) for operand in operands):
        return Relation((), {})
    return relate(f"{','.join(operands)} -> {_spaced(right)}", call.inputs, call.outputs)


def _spaced(operand: str) -> str:
    return " ".join(operand.replace("...", "@")).replace("@", "...")


def _bilinear(value: Value) -> str:
    return "n" if len(value.shape) == 1 else "b m n"


register(affine_rule(_linear_relation, _linear, add_to_argument("bias")), aten.linear.default)
register(affine_rule(_addmm_relation, _addmm, add_to_argument("self")), aten.addmm.default)
register(_product_rule(_product_relation), aten.matmul.default, aten.mm.default, aten.mv.default)
register(contraction(_einsum_relation), aten.einsum.default)
axes("b m k, b k n -> b m n", aten.bmm.default)
axes("k, k -> ", aten.dot.default)
axes("m, n -> m n", aten.outer.default)
register(
    Rule(lambda call: relate(f"{_bilinear(call.inputs[0])}, b m k, b k n -> b m n", call.inputs, call.outputs)),
    aten.baddbmm.default,
)

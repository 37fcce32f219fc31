"""Scaled dot product attention: heads and the widths of queries, keys and values narrow; positions do not."""

import torch
from torch import Tensor

from sparsecomp.facts import AxisFacts, TensorFacts
from sparsecomp.rules.base import Cut, Keep, Rule, register
from sparsecomp.rules.call import Call
from sparsecomp.rules.carry import arrive
from sparsecomp.rules.relation import Link, Relation, relate
from sparsecomp.rules.table import FactTable

aten = torch.ops.aten


def _relation(call: Call) -> Relation:
    query, mask = call.tensor("query"), call.value("attn_mask")
    heads, shared = ("h", "h") if not call["enable_gqa"] else ("(h r)", "h")
    lead = " ".join(f"b{i}" for i in range(len(query.shape) - 3))
    equation = f"{lead} {heads} _ e, {lead} {shared} _ e, {lead} {shared} _ d, "
    sizes = {}
    if mask is not None:
        equation += _mask_axes(
            len(mask.shape), lead.split(), heads if len(mask.shape) > 2 and mask.size(-3) != 1 else "_"
        )
    key_heads = call.tensor("key").size(-3)
    if key_heads is not None:
        sizes["h"] = key_heads
    operands = [query, call.tensor("key"), call.tensor("value"), mask]
    return relate(f"{equation} -> {lead} {heads} _ d", operands, call.outputs, sizes)


def _mask_axes(rank: int, lead: list[str], heads: str) -> str:
    """A mask is aligned from the right with ``(batch, heads, queries, keys)``."""
    return " ".join([*lead, heads, "_", "_"][-rank:]) if rank > 1 else "_" * rank


def _demand(call: Call, relation: Relation, facts: FactTable, keep: Keep) -> dict[str, Tensor]:
    """A component of queries and keys is needed unless it is zero in one of them."""
    if "e" not in relation.sizes:
        return {}
    query, key = (facts.known(call.tensor(name), len(call.output.shape) - 1) for name in ("query", "key"))
    return {"e": ~query.zero & ~key.zero}


def _forward(call: Call, relation: Relation, facts: FactTable) -> list[TensorFacts]:
    """What is zero in the values is zero in the result; without a mask every constant stays: weights add up to one."""
    value, rank = call.tensor("value"), len(call.output.shape)
    found: list[AxisFacts | None] = [None] * rank
    sources = relation.of_role(2, is_output=False)
    for target in relation.of_role(0, is_output=True):
        known = arrive(value, sources, target, facts)
        constant = known.zero if call.value("attn_mask") is not None else known.constant & known.value.isfinite()
        labels = known.classes if target.axis == rank - 1 else _head_labels(call, relation, target, facts)
        found[target.axis] = AxisFacts.of(constant, known.value, labels)
    return [tuple(found)]


def _head_labels(call: Call, relation: Relation, target: Link, facts: FactTable) -> Tensor:
    """Heads are equal if their queries, keys, values and masks are."""
    columns = [
        arrive(operand, relation.of_role(role, is_output=False), target, facts).classes
        for role, operand in enumerate(call.inputs)
    ]
    return torch.stack(columns, dim=1)


def _keep_scale(call: Call, relation: Relation, cut: Cut, keep: Keep) -> None:
    """The default scale depends on the width, so it is written out when the width changes."""
    width = call.tensor("query").size(-1)
    if call["scale"] is None and width is not None and "e" in keep:
        call.rewrite(scale=width**-0.5)


register(Rule(_relation, _forward, _demand, _keep_scale), aten.scaled_dot_product_attention.default)

"""Element-wise operators that TVM would compute slowly or with warnings."""

from functools import reduce
from typing import Any

import torch
from torch import fx
from tvm import relax

from sparsecomp.lower.context import Context
from sparsecomp.program import arguments

aten = torch.ops.aten
_LARGEST_PRODUCT = 8


def _power(node: fx.Node, context: Context) -> Any:
    """``x ** n`` for a small natural number is a product."""
    given = arguments(node)
    exponent = given["exponent"]
    if exponent not in range(1, _LARGEST_PRODUCT + 1) or not node.meta["val"].dtype.is_floating_point:
        return None
    x = context.value(given["self"])
    return reduce(lambda product, _: context.emit(relax.op.multiply(product, x)), range(int(exponent) - 1), x)


CONVERTERS: dict[Any, Any] = {aten.pow.Tensor_Scalar: _power}

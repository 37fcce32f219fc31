"""Linear layers and convolutions over packed buffers: calls of the row-panel kernels."""

from typing import Any

import torch
from torch import fx
from tvm import relax

from sparsecomp.kernels import row_panel
from sparsecomp.kernels.problem import ConvProblem, LinearProblem
from sparsecomp.lower.context import Context


def _packed(node: fx.Node, context: Context) -> Any:
    """The kernels take tokens as rows of a matrix, and images with a height."""
    x, weight, extra, _, key = node.args
    packed = context.kernels[str(key)]
    problem, out = packed.problem, node.meta["val"]
    shape = _flat_shape(out, problem, context)
    values = [context.reshape(x, _flat_shape(x.meta["val"], problem, context)), *context.value(weight)]  # type: ignore[union-attr]
    bias, residual = (extra[:1], extra[1:]) if problem.epilogue.bias else ([], extra)  # type: ignore[index]
    values += [*map(context.value, bias), *(context.reshape(source, shape) for source in residual)]  # type: ignore[union-attr, arg-type]
    result = context.call(
        key,
        lambda: row_panel.build(problem, packed.schedule),
        values,
        relax.TensorType(shape, "float32"),
        "linear" if isinstance(problem, LinearProblem) else "conv",
    )
    return context.reshape(result, context.symbols.dims(out.shape))


def _flat_shape(value: torch.Tensor, problem: LinearProblem | ConvProblem, context: Context) -> list[Any]:
    sizes = context.symbols.dims(value.shape)
    if isinstance(problem, ConvProblem):
        return sizes if len(sizes) == 4 else [sizes[0], sizes[1], 1, sizes[2]]
    tokens = 1
    for size in sizes[:-1]:
        tokens = tokens * size
    return [tokens, sizes[-1]]


CONVERTERS: dict[Any, Any] = {torch.ops.sparsecomp.packed.default: _packed}

"""Linear layers and convolutions over packed buffers: calls of the row-panel kernels."""

from typing import Any

import torch
from torch import fx
from tvm import relax

from sparsecomp.kernels import row_panel
from sparsecomp.kernels.problem import ConvProblem, LinearProblem, Problem
from sparsecomp.lower.context import Context
from sparsecomp.program import arguments


def _packed(node: fx.Node, context: Context) -> Any:
    """The kernels take tokens as rows of a matrix, and images with a height."""
    given, out = arguments(node), node.meta["val"]
    x, key = given["x"], given["kernel"]
    problem, schedule = context.kernels[key].problem, context.kernels[key].schedule
    x_tile, y_tile = (problem.x_tile, problem.y_tile) if isinstance(problem, LinearProblem) else (0, 0)
    shape = _shape(out, problem, y_tile, context)
    bias = given["extra"][: problem.epilogue.bias]
    residual = given["extra"][problem.epilogue.bias :]
    values = [
        context.reshape(x, _shape(x.meta["val"], problem, x_tile, context)),
        *context.value([*given["weight"], *bias]),
        *(context.reshape(value, shape) for value in residual),
    ]
    name = "linear" if isinstance(problem, LinearProblem) else "conv"
    kernel_type = relax.TensorType(shape, "float32")
    result = context.call(key, lambda: row_panel.build(problem, schedule), values, kernel_type, name)
    return context.reshape(result, context.symbols.dims(out.shape))


def _shape(value: torch.Tensor, problem: Problem, tile: int, context: Context) -> list[Any]:
    """As the kernel takes it; what is in tiles has that shape already."""
    sizes = context.symbols.dims(value.shape)
    if tile:
        return sizes
    if isinstance(problem, ConvProblem):
        return sizes if len(sizes) == 4 else [sizes[0], sizes[1], 1, sizes[2]]
    tokens: Any = 1
    for size in sizes[:-1]:
        tokens = tokens * size
    return [tokens, sizes[-1]]


CONVERTERS: dict[Any, Any] = {torch.ops.sparsecomp.packed.default: _packed}

"""The weights of a model that pruning may write zeros into, each seen as a matrix of outputs by inputs."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from sparsecomp.errors import PruneError

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
aten = torch.ops.aten


@dataclass(frozen=True)
class Weight:
    """A parameter that a linear layer or a convolution multiplies with.

    Attributes:
        name: path of the parameter in the model, such as ``"encoder.0.weight"``.
        shape: of the parameter.
        kind: ``"linear"``, ``"conv"``, or ``"recurrent"`` and ``"transposed"``, whose inputs cannot be observed.
        out_axis: the axis of the outputs: 0, or 1 where the weight is stored by input.
        groups: of a convolution.
    """

    name: str
    shape: tuple[int, ...]
    kind: str = "linear"
    out_axis: int = 0
    groups: int = 1

    @property
    def layer(self) -> str:
        """Path of the layer that holds the parameter."""
        return self.name.removesuffix(".weight")

    @property
    def outputs(self) -> int:
        """Rows of the matrix."""
        return self.shape[self.out_axis]

    @property
    def inputs(self) -> int:
        """Input features or channels that one output reads; the matrix has one column for each of them and each tap."""
        return self.shape[1 - self.out_axis]

    @property
    def size(self) -> int:
        """How many entries there are."""
        return math.prod(self.shape)

    @property
    def is_depthwise(self) -> bool:
        """Whether each output reads one channel alone."""
        return self.groups > 1 and self.inputs == 1

    def matrix(self, tensor: Tensor) -> Tensor:
        """``[outputs, taps * inputs]``, the inputs running fastest; a view where memory allows."""
        by_output = tensor if self.out_axis == 0 else tensor.transpose(0, 1)
        return by_output.movedim(1, -1).reshape(self.outputs, -1)

    def tensor(self, matrix: Tensor) -> Tensor:
        """The inverse of `matrix`: in the parameter's own shape."""
        by_output = matrix.reshape(self.outputs, *self.shape[2:], self.inputs).movedim(-1, 1)
        return (by_output if self.out_axis == 0 else by_output.transpose(0, 1)).contiguous()


def find_weights(model: nn.Module | ExportedProgram) -> dict[str, Weight]:
    """Every weight that can be pruned, by name, in the order of the model; none that an embedding shares."""
    if isinstance(model, ExportedProgram):
        return {weight.name: weight for weight in _of_graph(model)}
    found: dict[str, Weight] = {}
    shared = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag)}
    for path, module in model.named_modules():
        for weight in _of_module(path, module):
            parameter = model.get_parameter(weight.name)
            if id(parameter) not in shared:
                shared.add(id(parameter))
                found[weight.name] = weight
    return found


def _of_module(path: str, module: nn.Module) -> Iterator[Weight]:
    prefix = f"{path}." if path else ""
    if isinstance(module, nn.Linear):
        yield Weight(f"{prefix}weight", tuple(module.weight.shape))
    elif isinstance(module, _CONVOLUTIONS):
        yield Weight(f"{prefix}weight", tuple(module.weight.shape), "conv", groups=module.groups)
    elif isinstance(module, _TRANSPOSED) and module.groups == 1:
        yield Weight(f"{prefix}weight", tuple(module.weight.shape), "transposed", out_axis=1)
    elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
        yield Weight(f"{prefix}in_proj_weight", tuple(module.in_proj_weight.shape))
    elif isinstance(module, nn.RNNBase):
        for name, parameter in module.named_parameters(recurse=False):
            if name.startswith("weight_"):
                yield Weight(f"{prefix}{name}", tuple(parameter.shape), "recurrent")
    elif type(module).__name__ == "Conv1D" and hasattr(module, "nf"):  # of transformers: a linear layer stored by input
        assert isinstance(module.weight, Tensor)
        yield Weight(f"{prefix}weight", tuple(module.weight.shape), out_axis=1)


def _of_graph(exported: ExportedProgram) -> Iterator[Weight]:
    names = exported.graph_signature.inputs_to_parameters
    shared = {names.get(str(node.args[0])) for node in exported.graph.nodes if node.target is aten.embedding.default}
    seen = {name for name in shared if name is not None}
    for node in exported.graph.nodes:
        place = _PLACES.get(str(node.target))
        if place is None or len(node.args) <= place[0] or str(node.args[place[0]]) not in names:
            continue
        name = names[str(node.args[place[0]])]
        shape = tuple(exported.state_dict[name].shape)
        if name not in seen and len(shape) >= 2:
            groups = node.args[place[3]] if place[3] and len(node.args) > place[3] else 1
            seen.add(name)
            yield Weight(name, shape, place[1], place[2], groups)


_PLACES = {
    "aten.linear.default": (1, "linear", 0, 0),
    "aten.addmm.default": (2, "linear", 1, 0),
    "aten.conv1d.default": (1, "conv", 0, 6),
    "aten.conv2d.default": (1, "conv", 0, 6),
    "aten.conv3d.default": (1, "conv", 0, 6),
    "aten.conv1d.padding": (1, "conv", 0, 6),
    "aten.conv2d.padding": (1, "conv", 0, 6),
}
"""For each operator: the place of its weight, the kind, the axis of the outputs, the place of ``groups``."""


def check_finite(parameters: dict[str, Tensor]) -> None:
    """Refuse weights that have no order.

    Raises:
        PruneError: names the weights with NaN or infinite entries.
    """
    broken = [name for name, tensor in parameters.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise PruneError(f"prune: {', '.join(broken)} hold NaN or infinite weights; scores of them mean nothing")

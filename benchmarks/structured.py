"""Zeros in whole channels, heads and neurons, alike in all layers that a residual or a split ties together.

A group is a list of tensors with one leading index: setting index ``i`` of all of them to zero kills one channel (head,
neuron). The groups are written down by hand for each network, so that they can check what the compiler finds by itself.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

Group = list[Tensor]


@torch.no_grad()
def zero_slices(groups: Iterator[Group], share: float, seed: int = 0) -> None:
    """Zero ``share`` of the indices of every group, at random; one index at least stays."""
    generator = torch.Generator().manual_seed(seed)
    for group in groups:
        size = len(group[0])
        dead = torch.randperm(size, generator=generator)[: min(round(share * size), size - 1)]
        for tensor in group:
            assert len(tensor) == size
            tensor[dead] = 0.0


def _rows(*modules: nn.Module) -> Group:
    """Weight and bias of layers and their normalisations, by output channel."""
    found = [getattr(module, name, None) for module in modules for name in ("weight", "bias")]
    return [tensor.data for tensor in found if tensor is not None]


def _layer(layer: Any) -> Group:
    return _rows(layer.convolution, layer.normalization)


def resnet(network: Any) -> Iterator[Group]:
    """The stem; the residual stream of each stage; the inner channels of each block."""
    yield _layer(network.resnet.embedder.embedder)
    for stage in network.resnet.encoder.stages:
        shortcuts = [block.shortcut for block in stage.layers if hasattr(block.shortcut, "convolution")]
        yield list(chain(*map(_layer, [*shortcuts, *(block.layer[-1] for block in stage.layers)])))
        for block in stage.layers:
            yield from (_layer(layer) for layer in block.layer[:-1])


def mobilenetv2(network: Any) -> Iterator[Group]:
    """The expanded channels of each block with their depthwise filters; each residual stream; the last layer."""
    body = network.mobilenet_v2
    yield _layer(body.conv_stem.first_conv) + _layer(body.conv_stem.conv_3x3)
    stream = _layer(body.conv_stem.reduce_1x1)
    for block in body.layer:
        yield _layer(block.expand_1x1) + _layer(block.conv_3x3)
        if not block.use_residual:
            yield stream
            stream = []
        stream += _layer(block.reduce_1x1)
    yield stream
    yield _layer(body.conv_1x1)


def convnext(network: Any) -> Iterator[Group]:
    """The neurons of each block; the residual stream passes layer norms, which mix it."""
    for stage in network.convnext.encoder.stages:
        yield from (_rows(block.pwconv1) for block in stage.layers)


def unet(network: Any) -> Iterator[Group]:
    """Every convolution by itself; skips are concatenated, so that each half dies alone."""
    for double in [*network.encoders, *network.decoders]:
        yield from (_rows(layer[0], layer[1]) for layer in double)
    for up in network.ups:
        yield [up.weight.data.transpose(0, 1), up.bias.data]


def yolo(network: Any) -> Iterator[Group]:
    """All convolutions that do not make an output of the network; a block's second half with the steps added to it."""
    for module in network.modules():
        if type(module).__name__ == "C2f":
            yield from _c2f(module, leaves=module not in (network.merge16, network.merge8))
        elif type(module).__name__ == "PyramidPooling":
            yield _rows(module.enter[0], module.enter[1])
    for stage in (network.stem, network.stage8, network.stage16, network.stage32[0]):
        yield _rows(*(stage[0][:2] if stage is not network.stem else stage[1][0][:2]))
    yield _rows(*network.stem[0][:2])
    yield _rows(*network.box[0][:2])


def _c2f(block: Any, leaves: bool) -> Iterator[Group]:
    enter = _rows(*block.enter[:2])
    half = len(enter[0]) // 2
    yield [tensor[:half] for tensor in enter]
    second = [tensor[half:] for tensor in enter]
    for step in block.steps:
        yield _rows(*step[0][:2])
        if block.residual:
            second += _rows(*step[1][:2])
        else:
            yield _rows(*step[1][:2])
    yield second
    if leaves:
        yield _rows(*block.leave[:2])


def _heads(count: int, *layers: nn.Module) -> Group:
    return [tensor.reshape(count, -1) for tensor in _rows(*layers)]


def bert(network: Any) -> Iterator[Group]:
    """Heads and feed-forward neurons of each layer."""
    for layer in network.encoder.layer:
        attention = layer.attention.self
        yield _heads(attention.num_attention_heads, attention.query, attention.key, attention.value)
        yield _rows(layer.intermediate.dense)


def vit(network: Any) -> Iterator[Group]:
    """Heads and feed-forward neurons of each layer."""
    for layer in network.vit.layers:
        attention = layer.attention
        yield _heads(network.config.num_attention_heads, attention.q_proj, attention.k_proj, attention.v_proj)
        yield _rows(layer.mlp.fc1)


def gpt2(network: Any) -> Iterator[Group]:
    """Heads and feed-forward neurons of each layer; weights are stored by input."""
    heads = network.config.n_head
    for layer in network.transformer.h:
        weight, bias = layer.attn.c_attn.weight.data, layer.attn.c_attn.bias.data
        columns = weight.unflatten(1, (3, heads, -1)).permute(2, 1, 3, 0)
        yield [columns, bias.unflatten(0, (3, heads, -1)).transpose(0, 1)]
        yield [layer.mlp.c_fc.weight.data.t(), layer.mlp.c_fc.bias.data]


GROUPS: dict[str, Callable[[Any], Iterator[Group]]] = {
    "resnet50": resnet,
    "mobilenetv2": mobilenetv2,
    "convnext": convnext,
    "unet": unet,
    "yolo": yolo,
    "bert": bert,
    "vit": vit,
    "gpt2": gpt2,
}

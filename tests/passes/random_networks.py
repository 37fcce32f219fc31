"""Random small networks: residuals, concatenations, splits, reshapes, attention, and slices dead in many ways."""

import random
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_ACTIVATIONS = (F.relu, torch.sigmoid, F.gelu, F.silu, torch.tanh, F.relu6, lambda x: x + 0.5, F.hardswish)


Parts = tuple[nn.Module, nn.Module, int]
"""What a layer is made of, and how many channels it gives."""


def _convolution(c: int, rng: random.Random, padding: int | None = None, keep: bool = False) -> Parts:
    out, size = c if keep else rng.choice([4, 6, 8]), rng.choice([1, 3])
    conv = nn.Conv2d(c, out, size, padding=size // 2 if padding is None else padding)
    return conv, rng.choice([nn.BatchNorm2d(out), nn.Identity(), nn.GroupNorm(2 - out % 2, out)]), out


def _dense(c: int, rng: random.Random) -> Parts:
    conv, norm, out = _convolution(c, rng)
    return conv, norm, out + c


def _grouped(c: int, rng: random.Random) -> Parts:
    return nn.Conv2d(c, 2 * c, 3, padding=1, groups=2 - c % 2), nn.Identity(), 2 * c


def _transposed(c: int, rng: random.Random) -> Parts:
    groups, stride = rng.choice([1, 2 - c % 2]), rng.choice([1, 2])
    return nn.ConvTranspose2d(c, 4, 2, stride, padding=rng.choice([0, 1]), groups=groups), nn.Identity(), 4


def _strided(c: int, rng: random.Random) -> Parts:
    stride, dilation = rng.choice([1, 2]), rng.choice([1, 2])
    return nn.Conv2d(c, 6, 3, stride, padding=dilation, dilation=dilation), nn.Identity(), 6


def _attention(c: int, rng: random.Random) -> Parts:
    inner = 2 * rng.choice([2, 3])
    return nn.Linear(c, 3 * inner), nn.Linear(inner, c), c


PARTS: dict[str, Callable[[int, random.Random], Parts]] = {
    "conv": lambda c, rng: _convolution(c, rng, rng.choice([None, 0])),
    "residual": lambda c, rng: _convolution(c, rng, keep=True),
    "dense": _dense,
    "depthwise": lambda c, rng: (nn.Conv2d(c, c, 3, padding=1, groups=c), nn.BatchNorm2d(c), c),
    "grouped": _grouped,
    "transposed": _transposed,
    "strided": _strided,
    "csp": lambda c, rng: (nn.Sequential(nn.Conv2d(c, 8, 1), nn.BatchNorm2d(8)), nn.Conv2d(4, 4, 3, padding=1), 12),
    "squeeze": lambda c, rng: (nn.Conv2d(c, 3, 1), nn.Conv2d(3, c, 1), c),
    "attention": _attention,
    "softmax": _attention,
    "mlp": lambda c, rng: (nn.Linear(c, 10), nn.Linear(10, c), c),
    "tokens": lambda c, rng: (nn.LayerNorm(c), nn.Linear(c, c), c),
    "tied": lambda c, rng: (nn.Conv2d(c, c, 1), nn.BatchNorm2d(c), c),
    "gated": lambda c, rng: (nn.Conv2d(c, 12, 1), nn.Identity(), 6),
}
CHANNELS: dict[str, Callable[[int], int]] = {
    **dict.fromkeys(("shuffle", "pool", "up", "border", "maximum", "heights"), lambda c: c),
    "pad": lambda c: c + 2,
    "pixels": lambda c: 4 * c,
    "split": lambda c: 2 * (c // 2),
    "choice": lambda c: c + 1,
}
"""Layers without weights: how many channels they give."""


class Layer(nn.Module):
    """One step of an image network; ``kind`` says what it computes."""

    def __init__(self, kind: str, channels: int, rng: random.Random) -> None:
        super().__init__()
        self.kind, self.channels = kind, channels
        self.act = rng.choice(_ACTIVATIONS)
        if kind in PARTS:
            self.conv, self.norm, self.out = PARTS[kind](channels, rng)
        else:
            self.out = CHANNELS[kind](channels)

    def forward(self, x: Tensor) -> Tensor:
        step: Callable[[Tensor], Tensor] = getattr(self, f"_{self.kind}")
        return step(x)

    def _conv(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))

    _depthwise = _grouped = _transposed = _strided = _conv

    def _residual(self, x: Tensor) -> Tensor:
        return self.act(x + self.norm(self.conv(x)))

    def _dense(self, x: Tensor) -> Tensor:
        return torch.cat((x, self._conv(x)), 1)

    def _csp(self, x: Tensor) -> Tensor:
        one, other = self.act(self.conv(x)).chunk(2, 1)
        return torch.cat((one, other, other + self.norm(other)), 1)

    def _squeeze(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.norm(F.relu(self.conv(x.mean((2, 3), keepdim=True)))))

    def _mlp(self, x: Tensor) -> Tensor:
        return x + self.norm(self.act(self.conv(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)

    def _gated(self, x: Tensor) -> Tensor:
        a, b = self.norm(self.conv(x)).split([6, 6], 1)
        return a * torch.sigmoid(b)

    def _shuffle(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        groups = 2 - c % 2
        return x.view(b, groups, c // groups, h, w).transpose(1, 2).reshape(b, c, h, w)

    def _pool(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, 1, 1)

    def _up(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2.0, mode="nearest")[:, :, ::2, ::2]

    def _pad(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 0, 0, 0, 1, 1))

    def _border(self, x: Tensor) -> Tensor:
        return F.pad(x, (1, 0, 2, 1), value=0.5)

    def _maximum(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 1, 1)

    def _pixels(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, (4, 6))
        return F.pixel_unshuffle(F.pixel_shuffle(F.pixel_unshuffle(self.act(x), 2), 2), 2)

    def _split(self, x: Tensor) -> Tensor:
        one, other = x[:, : self.channels // 2], x[:, self.channels // 2 : self.channels // 2 * 2]
        return torch.cat((one * 0.5 + other, other.clamp(min=0.1)), 1)

    def _choice(self, x: Tensor) -> Tensor:
        gate = x.mean(1, keepdim=True)
        return torch.cat((torch.where(x > 0.1, x, 0.1 * x) * gate, gate), 1)

    def _heights(self, x: Tensor) -> Tensor:
        return torch.cat((x.flip(2), self.act(x)), 2).amax(3, keepdim=True).expand(-1, -1, -1, x.shape[3])

    def _tied(self, x: Tensor) -> Tensor:
        return x + self.norm(self.conv(self.act(self.norm(self.conv(x)))))

    def _tokens(self, x: Tensor) -> Tensor:
        return x + self.norm(self.conv(self.act(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)

    def _heads(self, parts: Tensor) -> Tensor:
        """``[b, tokens, 3 * 2 * width]`` as ``[3, b, 2, tokens, width]``."""
        return parts.unflatten(2, (3, 2, -1)).permute(2, 0, 3, 1, 4)

    def _tokens_out(self, y: Tensor, x: Tensor) -> Tensor:
        return x + self.norm(y.transpose(1, 2).flatten(2)).transpose(1, 2).unflatten(2, x.shape[2:])

    def _softmax(self, x: Tensor) -> Tensor:
        q, k, v = self._heads(self.conv(x.flatten(2).transpose(1, 2))).unbind(0)
        mask = torch.ones(q.shape[2], q.shape[2]).tril().bool()
        scores = torch.softmax((q @ k.transpose(2, 3) * 0.5).masked_fill(~mask, float("-inf")), -1)
        return self._tokens_out(scores @ v, x)

    def _attention(self, x: Tensor) -> Tensor:
        qkv = self._heads(self.conv(x.flatten(2).transpose(1, 2)))
        return self._tokens_out(F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2]), x)


KINDS = ("conv", *PARTS, *CHANNELS)


class Network(nn.Module):
    """Layers one after the other, two of them from the same input now and then, and a classifier at the end."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        channels = rng.choice([4, 6])
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.layers = nn.ModuleList()
        for _ in range(rng.randint(2, 5)):
            layer = Layer(rng.choice(KINDS), channels, rng)
            self.layers.append(layer)
            channels = layer.out
        self.flat = rng.random() < 0.3
        self.head = nn.Linear(channels * (16 if self.flat else 1), 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        for layer in self.layers:
            x = layer(x if min(x.shape[2:]) > 2 else F.interpolate(x, (6, 6)))
        x = F.adaptive_avg_pool2d(x, 4).flatten(1) if self.flat else x.mean((2, 3))
        return self.head(x)


def random_network(seed: int) -> nn.Module:
    """A network with random weights and statistics, of which random parts are dead."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    network = Network(rng).eval()
    with torch.no_grad():
        for module in network.modules():
            _scramble(module)
        for module in network.modules():
            _kill(module, rng)
    return network


def _scramble(module: nn.Module) -> None:
    if isinstance(module, nn.BatchNorm2d):
        module.running_mean.normal_()
        module.running_var.uniform_(0.5, 2.0)
    if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
        module.weight.normal_()
        module.bias.normal_()


def _kill(module: nn.Module, rng: random.Random) -> None:
    """Zero or repeat rows of a weight, with or without its bias; zero columns of it."""
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    if weight is None:
        return
    if isinstance(module, nn.ConvTranspose2d):
        weight = weight.transpose(0, 1)
    share = rng.choice([0.0, 0.3, 0.6, 0.9])
    with_bias = rng.random() < 0.6
    for row in range(weight.shape[0]):
        if rng.random() < share:
            source = rng.randrange(weight.shape[0])
            repeat = rng.random() < 0.2
            weight[row] = weight[source] if repeat else weight[row] * 0.0
            if repeat:
                bias[row] = bias[source]
            elif with_bias:
                bias[row] = 0.0
    if weight.dim() > 1 and rng.random() < 0.3:
        weight[:, rng.randrange(weight.shape[1])] = 0.0

"""Random small networks: residuals, concatenations, splits, reshapes, attention, and slices dead in many ways."""

import random
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_ACTIVATIONS = (F.relu, torch.sigmoid, F.gelu, F.silu, torch.tanh, F.relu6, lambda x: x + 0.5, F.hardswish)


class Layer(nn.Module):
    """One step of an image network; ``kind`` says what it computes."""

    def __init__(self, kind: str, channels: int, rng: random.Random) -> None:
        super().__init__()
        self.kind, self.channels = kind, channels
        self.act = rng.choice(_ACTIVATIONS)
        c = channels
        match kind:
            case "conv" | "residual" | "dense":
                self.out = c if kind == "residual" else rng.choice([4, 6, 8])
                size = rng.choice([1, 3])
                self.conv = nn.Conv2d(
                    c, self.out, size, padding=rng.choice([0, size // 2]) if kind == "conv" else size // 2
                )
                self.norm = rng.choice([nn.BatchNorm2d(self.out), nn.Identity(), nn.GroupNorm(2, self.out)])
                self.out += c if kind == "dense" else 0
            case "depthwise":
                self.conv, self.norm, self.out = nn.Conv2d(c, c, 3, padding=1, groups=c), nn.BatchNorm2d(c), c
            case "grouped":
                self.conv, self.norm, self.out = nn.Conv2d(c, 2 * c, 3, padding=1, groups=2), nn.Identity(), 2 * c
            case "transposed":
                self.conv, self.norm, self.out = nn.ConvTranspose2d(c, 4, 2, stride=1), nn.Identity(), 4
            case "csp":
                self.conv, self.norm = nn.Conv2d(c, 8, 1), nn.BatchNorm2d(8)
                self.inner = nn.Conv2d(4, 4, 3, padding=1)
                self.out = 12
            case "squeeze":
                self.conv, self.norm, self.out = nn.Conv2d(c, 3, 1), nn.Conv2d(3, c, 1), c
            case "attention":
                self.heads, self.width = 2, rng.choice([2, 3])
                self.conv = nn.Linear(c, 3 * self.heads * self.width)
                self.norm = nn.Linear(self.heads * self.width, c)
                self.out = c
            case "mlp":
                self.conv, self.norm, self.out = nn.Linear(c, 10), nn.Linear(10, c), c
            case "gated":
                self.conv, self.norm, self.out = nn.Conv2d(c, 12, 1), nn.Identity(), 6
            case _:
                self.out = {"shuffle": c, "pool": c, "up": c, "pad": c + 2}[kind]

    def forward(self, x: Tensor) -> Tensor:
        step: Callable[[Tensor], Tensor] = getattr(self, f"_{self.kind}")
        return step(x)

    def _conv(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))

    _depthwise = _grouped = _transposed = _conv

    def _residual(self, x: Tensor) -> Tensor:
        return self.act(x + self.norm(self.conv(x)))

    def _dense(self, x: Tensor) -> Tensor:
        return torch.cat((x, self._conv(x)), 1)

    def _csp(self, x: Tensor) -> Tensor:
        one, other = self._conv(x).chunk(2, 1)
        return torch.cat((one, other, other + self.inner(other)), 1)

    def _squeeze(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.norm(F.relu(self.conv(x.mean((2, 3), keepdim=True)))))

    def _mlp(self, x: Tensor) -> Tensor:
        return x + self.norm(self.act(self.conv(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)

    def _gated(self, x: Tensor) -> Tensor:
        a, b = self.norm(self.conv(x)).split([6, 6], 1)
        return a * torch.sigmoid(b)

    def _shuffle(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        return x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)

    def _pool(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, 1, 1)

    def _up(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2.0, mode="nearest")[:, :, ::2, ::2]

    def _pad(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 0, 0, 0, 1, 1))

    def _attention(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        qkv = self.conv(tokens).view(b, h * w, 3, self.heads, self.width).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        y = self.norm(y.transpose(1, 2).reshape(b, h * w, self.heads * self.width))
        return x + y.transpose(1, 2).reshape(b, c, h, w)


KINDS = (
    "conv",
    "conv",
    "residual",
    "dense",
    "depthwise",
    "grouped",
    "transposed",
    "csp",
    "squeeze",
    "attention",
    "mlp",
)
KINDS += ("gated", "shuffle", "pool", "up", "pad")


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
            x = layer(x)
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

"""Small classifiers that are trained here in seconds: scikit-learn's digits, and one-dimensional MNIST made by rule."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn

import sparsecomp
from sparsecomp.prune.scores.magnitude import Random

LEVELS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
SCORES = ("random", "magnitude", "wanda", "sparsegpt", "taylor", "obd")


@dataclass(frozen=True)
class Data:
    """Inputs and labels to train with and to test with."""

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]

    def batches(self, size: int = 64, count: int = 8) -> list[tuple[tuple[Tensor], dict[str, Any], Tensor]]:
        """Calibration data with labels."""
        x, y = self.train
        return [((x[i : i + size],), {}, y[i : i + size]) for i in range(0, size * count, size)]


def digits() -> Data:
    """scikit-learn's 1797 handwritten digits, 8 x 8."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x = torch.from_numpy(found.images).float().unsqueeze(1) / 8 - 1
    return _split(x, torch.from_numpy(found.target))


def mnist1d(count: int = 4000, seed: int = 0) -> Data:
    """Signals of 40 points: one of ten fixed curves, shifted, scaled, tilted, in noise (after Greydanus, MNIST-1D)."""
    random = np.random.default_rng(seed)
    templates = np.random.default_rng(42).normal(size=(10, 12)).cumsum(axis=1)
    templates -= templates.mean(axis=1, keepdims=True)
    labels = random.integers(0, 10, count)
    signals = np.zeros((count, 40))
    for row, label in zip(signals, labels, strict=True):
        at = random.integers(0, 28)
        row[at : at + 12] = templates[label] * random.uniform(0.6, 1.4)
        row += (
            random.normal() * np.linspace(-0.3, 0.3, 40)
            + np.convolve(random.normal(size=44), np.ones(5) / 5, "valid") / 3
        )
    x = torch.from_numpy(signals / signals.std()).float().unsqueeze(1)
    return _split(x, torch.from_numpy(labels))


def _split(x: Tensor, y: Tensor) -> Data:
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y, cut = x[order], y[order], len(x) * 3 // 4
    return Data((x[:cut], y[:cut]), (x[cut:], y[cut:]))


def convolutional(example: Tensor) -> nn.Module:
    """Three convolutions with batch normalisation, in one or two dimensions, and a linear layer."""
    two = example.dim() == 4
    conv: Any = nn.Conv2d if two else nn.Conv1d
    norm: Any = nn.BatchNorm2d if two else nn.BatchNorm1d
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((1, 32, 1), (32, 64, 2), (64, 64, 2)):
        layers += [conv(inputs, outputs, 3, stride, 1, bias=False), norm(outputs), nn.ReLU()]
    pool: nn.Module = nn.AdaptiveAvgPool2d(1) if two else nn.AdaptiveAvgPool1d(1)
    return nn.Sequential(*layers, pool, nn.Flatten(), nn.Linear(64, 10))


class Transformer(nn.Module):
    """Patches of the input as tokens through two transformer layers; linear on their mean."""

    def __init__(self, patch: int, tokens: int, width: int = 64) -> None:
        super().__init__()
        self.patch = patch
        self.embed = nn.Linear(patch, width)
        self.place = nn.Parameter(0.02 * torch.randn(tokens, width))
        layer = nn.TransformerEncoderLayer(width, 4, 128, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[batch, 10]``."""
        tokens = self.embed(x.reshape(len(x), -1, self.patch)) + self.place
        logits: Tensor = self.head(self.layers(tokens).mean(1))
        return logits


def transformer(example: Tensor) -> nn.Module:
    """A `Transformer` for such inputs."""
    patch = 8 if example.dim() == 4 else 5
    return Transformer(patch, example[0].numel() // patch)


def train(build: Callable[[Tensor], nn.Module], data: Data, seed: int = 0, epochs: int = 20) -> nn.Module:
    """A trained network in evaluation mode."""
    torch.manual_seed(seed)
    x, y = data.train
    model = build(x[:1])
    steps = epochs * -(-len(x) // 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(epochs):
        for batch in torch.split(torch.randperm(len(x)), 64):
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(model(x[batch]), y[batch]))
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, data: Data) -> float:
    """Share of test examples that are classified right."""
    x, y = data.test
    return float((model(x).argmax(1) == y).double().mean())


def networks() -> list[tuple[str, nn.Module, Data]]:
    """All classifiers, trained."""
    sets = {"digits": digits(), "mnist1d": mnist1d()}
    kinds: dict[str, Callable[[Tensor], nn.Module]] = {"conv": convolutional, "transformer": transformer}
    return [
        (f"{kind} {name}", train(build, data), data) for name, data in sets.items() for kind, build in kinds.items()
    ]


def curves(seeds: Sequence[int], console: Console) -> list[dict[str, Any]]:
    """Accuracy over sparsity (Occam's hill) of every network by every score; random is the mean over the seeds."""
    rows = []
    for name, model, data in networks():
        for score in SCORES:
            row: dict[str, Any] = {"network": name, "score": score, "dense": accuracy(model, data)}
            for level in LEVELS:
                chosen = [Random(seed) for seed in seeds] if score == "random" else [score]
                row[f"{100 * level:g} %"] = _mean(
                    accuracy(
                        sparsecomp.prune(
                            model, sparsity=level, score=each, data=data.batches(), loss=F.cross_entropy
                        ).model,
                        data,
                    )
                    for each in chosen
                )
            rows.append(row)
            console.print(row)
    return rows


def structured(seeds: Sequence[int], console: Console) -> list[dict[str, Any]]:
    """Accuracy with channels or neurons removed, without and with repair; the mean over training seeds."""
    cases = (("conv", convolutional, "channels"), ("transformer", transformer, "neurons"))
    rows = []
    for data_name, data in {"digits": digits(), "mnist1d": mnist1d()}.items():
        for kind, build, pattern in cases:
            models = [train(build, data, seed, epochs=12) for seed in seeds]
            for level in (0.3, 0.5, 0.7):
                row: dict[str, Any] = {"network": f"{kind} {data_name}", "pattern": pattern, "sparsity": level}
                row["dense"] = _mean(accuracy(model, data) for model in models)
                for repair in (False, True):
                    row["repair" if repair else "none"] = _mean(
                        accuracy(
                            sparsecomp.prune(
                                model,
                                data.batches()[0][0],
                                sparsity=level,
                                pattern=pattern,
                                score="wanda",
                                data=data.batches(),
                                repair=repair,
                                exclude=(),
                            ).model,
                            data,
                        )
                        for model in models
                    )
                rows.append(row)
                console.print(row)
    return rows


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)

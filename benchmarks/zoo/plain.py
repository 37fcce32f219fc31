"""Networks in plain torch.nn: a U-Net, a detector backbone in the manner of YOLO, a recurrent classifier."""

import torch
from torch import Tensor, nn

from benchmarks.zoo.model import BATCH, Inputs, Model, image, seeded


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, act: type[nn.Module] = nn.SiLU) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), act())


class UNet(nn.Module):
    """Encoder and decoder of ``depth`` levels; skips are concatenated, decoding steps are transposed convolutions."""

    def __init__(self, width: int, depth: int, classes: int) -> None:
        super().__init__()
        widths = [width << level for level in range(depth + 1)]
        self.encoders = nn.ModuleList(self._double(i, o) for i, o in zip([3, *widths], widths, strict=False))
        self.pool = nn.MaxPool2d(2)
        down = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, 2) for i, o in down)
        self.decoders = nn.ModuleList(self._double(2 * o, o) for _, o in down)
        self.head = nn.Conv2d(width, classes, 1)

    @staticmethod
    def _double(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(_conv(inputs, outputs, act=nn.ReLU), _conv(outputs, outputs, act=nn.ReLU))

    def forward(self, x: Tensor) -> Tensor:
        """Logits [batch, classes, height, width] of images [batch, 3, height, width]."""
        skips: list[Tensor] = []
        for encoder in self.encoders:
            skips.append(encoder(self.pool(skips[-1]) if skips else x))
        y = skips.pop()
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            y = decoder(torch.cat([skips.pop(), up(y)], dim=1))
        logits: Tensor = self.head(y)
        return logits


class C2f(nn.Module):
    """Cross-stage block: split the channels, pass one half through bottlenecks, concatenate every step."""

    def __init__(self, inputs: int, outputs: int, repeats: int, *, residual: bool) -> None:
        super().__init__()
        half = outputs // 2
        self.residual = residual
        self.enter = _conv(inputs, outputs, 1)
        self.steps = nn.ModuleList(nn.Sequential(_conv(half, half), _conv(half, half)) for _ in range(repeats))
        self.leave = _conv((2 + repeats) * half, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, inputs, height, width] to [batch, outputs, height, width]."""
        parts = list(self.enter(x).chunk(2, dim=1))
        for step in self.steps:
            y = step(parts[-1])
            parts.append(parts[-1] + y if self.residual else y)
        merged: Tensor = self.leave(torch.cat(parts, dim=1))
        return merged


class PyramidPooling(nn.Module):
    """Three poolings of one window in a row, concatenated with their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter, self.leave = _conv(width, width // 2, 1), _conv(2 * width, width, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, width, height, width] to the same shape."""
        steps = [self.enter(x)]
        for _ in range(3):
            steps.append(self.pool(steps[-1]))
        merged: Tensor = self.leave(torch.cat(steps, dim=1))
        return merged


class Detector(nn.Module):
    """Backbone with C2f stages and a top-down path of upsampling and concatenation; features at 1/8, 1/16, 1/32."""

    def __init__(self, width: int, repeats: int) -> None:
        super().__init__()
        w2, w4, w8, w16 = (width * factor for factor in (2, 4, 8, 16))
        self.stem = nn.Sequential(_conv(3, width, 3, 2), self._stage(width, w2, repeats))
        self.stage8 = self._stage(w2, w4, 2 * repeats)
        self.stage16 = self._stage(w4, w8, 2 * repeats)
        self.stage32 = nn.Sequential(self._stage(w8, w16, repeats), PyramidPooling(w16))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.merge16 = C2f(w16 + w8, w8, repeats, residual=False)
        self.merge8 = C2f(w8 + w4, w4, repeats, residual=False)
        self.box = nn.Sequential(_conv(w4, w4), nn.Conv2d(w4, 4, 1))
        self.score = nn.Conv2d(w4, 20, 1)

    @staticmethod
    def _stage(inputs: int, outputs: int, repeats: int) -> nn.Sequential:
        return nn.Sequential(_conv(inputs, outputs, 3, 2), C2f(outputs, outputs, repeats, residual=True))

    def forward(self, x: Tensor) -> dict[str, Tensor | list[Tensor]]:
        """Boxes and scores at 1/8 and the feature maps, of images [batch, 3, side, side], side a multiple of 32."""
        c8 = self.stage8(self.stem(x))
        c16 = self.stage16(c8)
        c32 = self.stage32(c16)
        p16 = self.merge16(torch.cat([self.up(c32), c16], dim=1))
        p8 = self.merge8(torch.cat([self.up(p16), c8], dim=1))
        return {"boxes": self.box(p8), "scores": self.score(p8).sigmoid(), "features": [p8, p16, c32]}


class Classifier(nn.Module):
    """Embedding, two layers of bidirectional LSTM, a linear layer on the mean over time."""

    def __init__(self, vocabulary: int, width: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [batch, classes] of token numbers [batch, length]."""
        states, _ = self.lstm(self.embedding(tokens))
        logits: Tensor = self.head(states.mean(dim=1))
        return logits


def unet(full: bool) -> Model:
    """U-Net of five levels, 64 to 1024 channels, on 256 x 256; small: three levels on 32 x 32."""
    width, depth, side = (64, 4, 256) if full else (8, 2, 32)
    return Model("unet", lambda: seeded(UNet(width, depth, 2)), image(3, side), dynamic_shapes={"x": {0: BATCH}})


def yolo(full: bool) -> Model:
    """Detector of 32 to 512 channels on 320 x 320; small: 8 to 128 channels on 64 x 64."""
    width, repeats, side = (32, 1, 320) if full else (8, 1, 64)
    return Model("yolo", lambda: seeded(Detector(width, repeats)), image(3, side), dynamic_shapes={"x": {0: BATCH}})


def lstm(full: bool) -> Model:
    """LSTM classifier of width 256 on 64 tokens; small: width 16 on 6 tokens."""
    vocabulary, width, length = (10_000, 256, 64) if full else (50, 16, 6)

    def sample(batch: int, length: int) -> Inputs:
        generator = torch.Generator().manual_seed(1)
        return Inputs((torch.randint(0, vocabulary, (batch, length), generator=generator),))

    return Model("lstm", lambda: seeded(Classifier(vocabulary, width, 8)), sample, length)

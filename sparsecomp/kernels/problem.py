"""What a kernel is asked to compute, apart from how and from the weights themselves."""

from dataclasses import dataclass
from typing import Literal

Activation = Literal[
    "relu", "relu6", "clamp", "sigmoid", "tanh", "gelu", "gelu_tanh", "silu", "hardswish", "hardsigmoid"
]


@dataclass(frozen=True)
class Epilogue:
    """What is done to each output value before it is stored: ``activation(value + bias + residual)``.

    Attributes:
        bias: one value is added for each output feature or channel.
        residual: a tensor of the output's shape is added.
        activation: the function applied, None for the identity; ``gelu`` is the one with erf.
        low, high: the bounds of ``clamp``, unused by the others.
        residual_last: add the residual after the activation instead of before it.
    """

    bias: bool = False
    residual: bool = False
    activation: Activation | None = None
    low: float = 0.0
    high: float = 0.0
    residual_last: bool = False


@dataclass(frozen=True)
class LinearProblem:
    """``y[tokens, out_features] = epilogue(x[tokens, in_features] @ weight.T)``, all row-major float32.

    Attributes:
        tokens: rows of x, leading dimensions flattened; None when known only at run time.
        likely: the tokens by which schedules are judged where their number is not known.
        x_tile: tokens of a tile, where x is in the tiles of the layer that has computed it, ``[tiles, in_features,
            x_tile]``; what lies beyond the last token is not read. 0: x is row-major.
        y_tile: the same for y, and for a residual.
    """

    tokens: int | None
    in_features: int
    out_features: int
    epilogue: Epilogue = Epilogue()
    likely: int = 128
    x_tile: int = 0
    y_tile: int = 0

    @property
    def judged(self) -> int:
        """The tokens by which schedules are judged."""
        return self.likely if self.tokens is None else self.tokens

    @property
    def macs(self) -> int:
        """Multiply-adds of a dense weight."""
        return self.judged * self.in_features * self.out_features


@dataclass(frozen=True)
class ConvProblem:
    """A 2-D convolution of NCHW float32 tensors; 1-D convolution has height 1.

    Attributes:
        batch: images; None when known only at run time.
        height, width: of the input.
        kernel, stride, dilation: ``(vertical, horizontal)``.
        padding: zeros added at ``(top, bottom, left, right)``.
    """

    batch: int | None
    in_channels: int
    out_channels: int
    height: int
    width: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    epilogue: Epilogue = Epilogue()

    @property
    def out_height(self) -> int:
        """Rows of the output."""
        span = self.dilation[0] * (self.kernel[0] - 1)
        return (self.height + self.padding[0] + self.padding[1] - span - 1) // self.stride[0] + 1

    @property
    def out_width(self) -> int:
        """Columns of the output."""
        span = self.dilation[1] * (self.kernel[1] - 1)
        return (self.width + self.padding[2] + self.padding[3] - span - 1) // self.stride[1] + 1

    @property
    def taps(self) -> int:
        """Weights of one filter for one input channel."""
        return self.kernel[0] * self.kernel[1]

    @property
    def macs(self) -> int:
        """Multiply-adds of a dense weight, for one image where their number is not known."""
        pixels = (self.batch or 1) * self.out_height * self.out_width
        return pixels * self.out_channels * self.in_channels // self.groups * self.taps


Problem = LinearProblem | ConvProblem

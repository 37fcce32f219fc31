"""The choices of a kernel, as plain numbers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ColumnSchedule:
    """Choices of the row-panel kernel: panels of weight rows times tiles of columns (pixels or tokens).

    Attributes:
        rows: R, rows of a panel.
        vectors: vector registers along a column tile; rows * vectors of them hold sums.
        depth: input channels or features of a depth block.
        span: column tiles that are packed together.
        sparse: the panels store only columns with a nonzero.
        expand: convolution only: pack a copy of the input for each tap (aligned loads, no columns between image
            rows) instead of one that all taps share.
        lanes: float32 values in a vector.
        workers: threads among which the work is divided.
        slice: C, how many panels are multiplied at once, entry by entry (SELL-C-sigma: Kreutzer et al., A unified
            sparse matrix data format, 2014): more independent sums hide the latency of the FMA, and a loop serves C
            panels.
        clustered: rows with nonzeros in the same columns are in one panel, wherever they are in the weight.
        direct: 1x1 convolution only: multiply x where it is, pack nothing. The few columns behind the last whole
            vector, one of 49 pixels, are a tail: for each of them a vector holds rows, not columns.
        cuts: linear only: the rows of a thread are computed in so many runs, whose sums stay in the L2 cache between
            depth blocks; x is packed once for all of them.
        apart: one image only: workers have rows of their own, of all tiles, and not tiles. So each computes whole
            channels, which what follows may read at once (`lower.chains`).
    """

    rows: int
    vectors: int
    depth: int
    span: int
    sparse: bool
    expand: bool
    lanes: int
    workers: int
    direct: bool = False
    slice: int = 1
    clustered: bool = False
    cuts: int = 1
    apart: bool = False


@dataclass(frozen=True)
class FeatureSchedule:
    """Choices of the dense linear kernel: tiles of tokens times panels of output features.

    Attributes:
        tokens: tokens of a tile.
        vectors: vector registers along a panel; tokens * vectors of them hold sums.
        depth: input features of a depth block.
        lanes: float32 values in a vector.
        workers: threads among which the work is divided.
    """

    tokens: int
    vectors: int
    depth: int
    lanes: int
    workers: int


@dataclass(frozen=True)
class ChannelSchedule:
    """Choices of the dense convolution kernel: tiles of pixels times panels of output channels.

    Attributes:
        pixels: output pixels of a tile, all of one row of the image.
        vectors: vector registers along a panel; pixels * vectors of them hold sums.
        depth: input channels of a depth block.
        chunk: image rows whose sums are kept until they are complete.
        lanes: float32 values in a vector.
        workers: threads among which the work is divided.
    """

    pixels: int
    vectors: int
    depth: int
    chunk: int
    lanes: int
    workers: int


@dataclass(frozen=True)
class StripSchedule:
    """Choices of the dense convolution kernel that packs nothing: strips of an output row times panels of channels.

    Attributes:
        rows: output channels of a panel.
        vectors: vector registers along a strip; rows * vectors of them hold sums.
        lanes: float32 values in a vector.
        workers: threads among which the work is divided.
    """

    rows: int
    vectors: int
    lanes: int
    workers: int


@dataclass(frozen=True)
class WinogradSchedule:
    """Choices of the kernel that computes dense 3x3 convolutions with fewer multiplications.

    Attributes:
        outputs: m; a tile has m x m pixels of the output.
        tiles: tiles of a register tile.
        vectors: vector registers along a panel of output channels; tiles * vectors of them hold sums.
        rows: rows of tiles that are transformed together.
        lanes: float32 values in a vector.
        workers: threads among which the work is divided.
        divided: those that share a chunk divide its tiles among them, and not its panels.
    """

    outputs: int
    tiles: int
    vectors: int
    rows: int
    lanes: int
    workers: int
    divided: bool = False

    @property
    def panel(self) -> int:
        """Output channels of a panel."""
        return self.vectors * self.lanes


@dataclass(frozen=True)
class WinogradTileSchedule:
    """The same with vectors that hold tiles, not channels.

    Attributes:
        outputs: m; a tile has m x m pixels of the output.
        panel: output channels of a register tile.
        vectors: vector registers along the tiles; panel * vectors of them hold sums.
        group: panels whose products wait together; the transformed inputs are read once for them.
        rows: rows of tiles that are transformed together.
        lanes: float32 values in a vector.
        workers: threads among which the work is divided.
    """

    outputs: int
    panel: int
    vectors: int
    group: int
    rows: int
    lanes: int
    workers: int


Schedule = ColumnSchedule | FeatureSchedule | ChannelSchedule | StripSchedule | WinogradSchedule | WinogradTileSchedule


def is_sparse(schedule: Schedule | None) -> bool:
    """Whether it skips zeros."""
    return isinstance(schedule, ColumnSchedule) and schedule.sparse

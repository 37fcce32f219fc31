"""Dense 3x3 convolution with fewer multiplications: Winograd's algorithm, F(2x2, 3x3) or F(4x4, 3x3).

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (2016), section 4. There are two kernels: vectors hold
channels (``winograd_channels``) or tiles (``winograd_tiles``). See the schedules for the choices.

    for each chunk of rows of tiles, for each panel of output channels  parallel over both
        V[p, tile, channel] = B^T d B of each tile, once a chunk        p: the (m + 2)^2 positions of a tile
        for each position p
            M[p, tile, panel] = V[p, tile, :] @ U[panel, p, :, :]       U = G g G^T, packed at compile time
        y = A^T M A, epilogue
"""

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
import tvm
import tvm.tirx.script.builder.ir as T
from tvm import tirx
from tvm.script.ir_builder import IRBuilder

from sparsecomp.kernels.channel_output import ChannelOutput
from sparsecomp.kernels.cook_toom import transforms
from sparsecomp.kernels.emit import Expr, argument, each_run, let
from sparsecomp.kernels.problem import ConvProblem
from sparsecomp.kernels.schedule import WinogradSchedule, WinogradTileSchedule

Array = npt.NDArray[np.generic]
FEW_CHUNKS = 3  # of a worker, which are not worth cutting its run


def pack(weight: Array, problem: ConvProblem, schedule: WinogradSchedule | WinogradTileSchedule) -> tuple[Array, ...]:
    """The weight OIHW, transformed, as ``[panels, positions, in channels, channels of a panel]``, in a line."""
    g = transforms(schedule.outputs).weights
    filters = np.einsum("ia,ocab,jb->ijco", g, weight.astype(np.float64), g, optimize=True)
    rest = -problem.out_channels % schedule.panel
    padded = np.pad(filters.astype(np.float32), ((0, 0), (0, 0), (0, 0), (0, rest)))
    panels = padded.reshape(len(g) ** 2, problem.in_channels, -1, schedule.panel)
    return (np.ascontiguousarray(panels.transpose(2, 0, 1, 3)).ravel(),)


class Winograd(ABC):
    """Emits one kernel ``(x, values, [bias], [residual], y)``; the fields are what its parts share.

    Attributes:
        size: m + 2, pixels of a side of a tile's input.
        down, across: tiles of an image.
        tiles: of a chunk.
        rows: rows of tiles of all images, known inside of the kernel.
    """

    rows: Expr

    def __init__(self, problem: ConvProblem, schedule: WinogradSchedule | WinogradTileSchedule) -> None:
        outputs = schedule.outputs
        self.problem, self.matrices, self.size = problem, transforms(outputs), outputs + 2
        self.positions = self.size**2
        self.down, self.across = -(-problem.out_height // outputs), -(-problem.out_width // outputs)
        self.chunk, self.panel, self.workers = schedule.rows, schedule.panel, schedule.workers
        self.outputs, self.lanes = outputs, schedule.lanes
        self.tiles = self.chunk * self.across
        self.panels = -(-problem.out_channels // self.panel)

    @abstractmethod
    def allocate(self) -> None:
        """Make the arrays of a worker."""

    @abstractmethod
    def transform_inputs(self, image: Expr, down: Expr, row: Expr) -> None:
        """B^T d B of one row of tiles of an image, which is this row of the chunk."""

    @abstractmethod
    def multiply(self, first_row: Expr, begin: Expr, end: Expr) -> None:
        """The outputs of a chunk for the panels from ``begin`` to ``end``."""

    def build(self) -> tvm.tirx.PrimFunc:
        """The function."""
        p, parts = self.problem, self.workers
        with IRBuilder() as builder, T.prim_func(s_tir=True):
            T.func_name("winograd")
            batch = tirx.Var("batch", "int64") if p.batch is None else p.batch
            self.x = argument("x", (batch, p.in_channels, p.height, p.width))
            self.values = argument("values", (self.panels * self.positions * p.in_channels * self.panel,))
            self.output = ChannelOutput(p, batch, self.lanes)
            images = batch if isinstance(batch, int) else let("images", tirx.Cast("int32", batch))
            self.rows = images * self.down
            chunks = let("chunks", (self.rows + self.chunk - 1) // self.chunk)
            # A run that begins inside of a chunk transforms its inputs again.
            macs = 0 if isinstance(chunks, int) and chunks < FEW_CHUNKS * parts else p.macs / 3
            with each_run(chunks * parts, parts, macs, together=parts) as (begin, end):
                self.allocate()
                with T.serial(begin // parts, (end + parts - 1) // parts) as chunk:
                    first, last = tirx.max(begin - chunk * parts, 0), tirx.min(end - chunk * parts, parts)
                    self.compute(chunk * self.chunk, first, last)
        return builder.get()

    def compute(self, first_row: Expr, first: Expr, last: Expr) -> None:
        """The parts from ``first`` to ``last`` of as many as there are workers, of a chunk: some panels."""
        begin = let("first_panel", first * self.panels // self.workers)
        end = let("last_panel", last * self.panels // self.workers)
        with T.If(end > begin), T.Then():
            self.transform_rows(first_row, 0, self.chunk)
            self.multiply(first_row, begin, end)

    def transform_rows(self, first_row: Expr, begin: Expr, end: Expr) -> None:
        """The inputs of some rows of tiles of the chunk that begins with this row."""
        with T.serial(begin, end) as row:
            at = let("at", tirx.min(first_row + row, self.rows - 1))
            self.transform_inputs(at // self.down, at % self.down, row)

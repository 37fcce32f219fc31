"""The row-panel family: linear layers and convolutions, dense to very sparse. See the package for how to use it."""

import numpy as np
import numpy.typing as npt
import tvm

from sparsecomp.kernels import channel_kernel, column_kernel, column_weights, feature_kernel, strip_kernel, winograd
from sparsecomp.kernels.problem import ConvProblem, LinearProblem, Problem
from sparsecomp.kernels.schedule import (
    ChannelSchedule,
    FeatureSchedule,
    Schedule,
    StripSchedule,
    WinogradSchedule,
    WinogradTileSchedule,
)
from sparsecomp.kernels.winograd_channels import WinogradChannels
from sparsecomp.kernels.winograd_tiles import WinogradTiles

Array = npt.NDArray[np.generic]


def pack(weight: Array, problem: Problem, schedule: Schedule) -> tuple[Array, ...]:
    """The weight, ``[out, in]`` or OIHW, as the arrays that the kernel takes after x."""
    if isinstance(schedule, FeatureSchedule):
        assert isinstance(problem, LinearProblem)
        return feature_kernel.pack(weight, problem, schedule)
    if isinstance(schedule, ChannelSchedule):
        assert isinstance(problem, ConvProblem)
        return channel_kernel.pack(weight, problem, schedule)
    if isinstance(schedule, StripSchedule):
        assert isinstance(problem, ConvProblem)
        return strip_kernel.pack(weight, problem, schedule)
    if isinstance(schedule, WinogradSchedule | WinogradTileSchedule):
        assert isinstance(problem, ConvProblem)
        return winograd.pack(weight, problem, schedule)
    return column_weights.pack(weight, problem, schedule)


def build(problem: Problem, schedule: Schedule) -> tvm.tirx.PrimFunc:
    """The kernel ``(x, *packed, [bias], [residual], y)``; it serves all weights of this problem and schedule."""
    if isinstance(schedule, FeatureSchedule):
        assert isinstance(problem, LinearProblem)
        return feature_kernel.build(problem, schedule)
    if isinstance(schedule, ChannelSchedule):
        assert isinstance(problem, ConvProblem)
        return channel_kernel.build(problem, schedule)
    if isinstance(schedule, StripSchedule):
        assert isinstance(problem, ConvProblem)
        return strip_kernel.build(problem, schedule)
    if isinstance(schedule, WinogradSchedule):
        assert isinstance(problem, ConvProblem)
        return WinogradChannels(problem, schedule).build()
    if isinstance(schedule, WinogradTileSchedule):
        assert isinstance(problem, ConvProblem)
        return WinogradTiles(problem, schedule).build()
    return column_kernel.build(problem, schedule)

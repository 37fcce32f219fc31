"""Kernels in turns: a depthwise convolution takes each channel as soon as it is there."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import sparsecomp
from sparsecomp.kernels.apart import piece, rows_apart, with_even_panels
from sparsecomp.kernels.problem import ConvProblem
from sparsecomp.kernels.schedule import ColumnSchedule
from sparsecomp.lower import chains
from sparsecomp.targets import resolve

NATIVE = resolve("native")


@pytest.fixture
def chained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the kernels that are chained while a test compiles."""
    found: list[str] = []

    def spy(module: Any, name: Any, link: Any, make: Callable[..., Any] = chains._chained) -> Any:
        found.append(name.name_hint)
        return make(module, name, link)

    monkeypatch.setattr(chains, "_chained", spy)
    return found


def block(channels: int, wide: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    """An inverted residual block without its residual."""
    return [
        nn.Conv2d(channels, wide, 1),
        nn.ReLU6(),
        nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide),
        nn.ReLU6(),
        nn.Conv2d(wide, channels, 1),
    ]


def check(model: nn.Module, *shape: int, cores: int = 2) -> None:
    """Compiled for so many cores, it computes the same for several inputs."""
    x = torch.randn(shape)
    compiled = sparsecomp.compile(model.eval(), replace(NATIVE, cores=cores), (x,), verify=False)
    for _ in range(3):
        x = torch.randn(shape)
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cores", [2, 3, 5])
@pytest.mark.parametrize(("channels", "wide", "size", "stride"), [(5, 61, 56, 2), (7, 43, 40, 1), (10, 58, 29, 1)])
def test_channels_are_handed_on(
    channels: int, wide: int, size: int, stride: int, cores: int, chained: list[str]
) -> None:
    check(nn.Sequential(*block(channels, wide, 3, stride)), 1, channels, size, size, cores=cores)
    assert len(chained) == 1


def test_values_are_kept_until_both_have_read_them(chained: list[str]) -> None:
    """The result of the second would lie where the first one still reads, if they were two stages."""
    check(nn.Sequential(nn.ReLU(), *block(8, 96), nn.ReLU(), *block(8, 64, 5), nn.ReLU()), 1, 8, 48, 48)
    assert len(chained) == 2


class Twice(nn.Module):
    """What lies between the two convolutions is also read by others."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.depthwise = nn.Conv2d(8, 48, 1), nn.Conv2d(48, 48, 3, padding=1, groups=48)

    def forward(self, x: Tensor) -> Tensor:
        """Both."""
        wide = self.wide(x)
        return self.depthwise(wide) + wide


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (Twice(), (1, 8, 40, 40)),
        (nn.Sequential(*block(8, 48)), (2, 8, 40, 40)),
        (nn.Sequential(*block(96, 96)), (1, 96, 40, 40)),
        (nn.Sequential(nn.Conv2d(8, 48, 1), nn.Conv2d(48, 48, 3, padding=1)), (1, 8, 40, 40)),
    ],
    ids=["somebody else reads it", "two images", "products take longer", "it reads all channels"],
)
def test_others_wait(model: nn.Module, shape: tuple[int, ...], chained: list[str]) -> None:
    check(model, *shape)
    assert not chained


def test_a_loaded_program_is_chained_too(tmp_path: Any, chained: list[str]) -> None:
    model, x = nn.Sequential(*block(7, 60)).eval(), torch.randn(1, 7, 40, 40)
    compiled = sparsecomp.compile(model, replace(NATIVE, cores=2), (x,))
    assert "by rows" in compiled.explain("0")
    compiled.save(tmp_path / "model.spc")
    assert torch.equal(sparsecomp.load(tmp_path / "model.spc")(x), compiled(x))
    assert compiled.profile(x, runs=2).seconds > 0, "kernels also run one by one"
    assert chained


@settings(max_examples=200, deadline=None)
@given(channels=st.integers(1, 500), each=st.integers(1, 8), plane=st.integers(4, 1 << 20), cores=st.integers(2, 8))
def test_pieces_of_all_workers_fit_the_channels(channels: int, each: int, plane: int, cores: int) -> None:
    target = replace(NATIVE, cores=cores)
    units = piece(channels, each, plane, target)
    assert 0 <= units * each * cores <= channels
    assert units <= 1 or units * each * plane <= target.l1_bytes


def test_only_dense_columns_of_one_image_may_be_apart() -> None:
    target = replace(NATIVE, cores=2)
    problem = ConvProblem(1, 6, 48, 40, 40, (1, 1))
    schedule = ColumnSchedule(4, 1, 6, 1, False, False, NATIVE.lanes, 2)
    assert rows_apart(problem, schedule, target) == replace(schedule, apart=True)
    for change in ({"sparse": True}, {"workers": 1}, {"depth": 3}, {"span": 2}):
        assert rows_apart(problem, replace(schedule, **change), target) is None  # type: ignore[arg-type]
    for change in ({"batch": 2}, {"batch": None}, {"kernel": (3, 3)}, {"groups": 2}, {"height": 4000}):
        assert rows_apart(replace(problem, **change), schedule, target) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(("channels", "cores", "panels"), [(43, 2, {4}), (58, 2, {6}), (96, 3, {9, 12})])
def test_even_panels_are_as_many_for_each_worker(channels: int, cores: int, panels: set[int]) -> None:
    """43 channels are 4 x 11, not 6 x 8 of which one worker has 24 and the other 19."""
    problem = ConvProblem(1, 6, channels, 7, 7, (1, 1))
    schedule = ColumnSchedule(7, 1, 6, 1, False, False, 16, cores, direct=True)
    target = replace(NATIVE, cores=cores, vector_bits=512, vector_registers=32)
    found = list(with_even_panels(problem, schedule, target))
    assert {-(-channels // each.rows) for each in found} == panels
    assert all(each.rows > 7 and replace(each, rows=7) == schedule for each in found)
    assert not list(with_even_panels(problem, schedule, replace(target, vector_registers=16)))


def test_links_do_not_overlap(chained: list[str]) -> None:
    """Of three in a row, each of which could hand on to the next, two do."""
    model = nn.Sequential(*block(6, 64)[:4], nn.Conv2d(64, 64, 3, padding=1, groups=64), nn.Conv2d(64, 4, 1))
    check(model, 1, 6, 48, 48)
    assert len(chained) == 1

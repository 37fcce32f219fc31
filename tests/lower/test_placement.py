"""Parts are written into the whole and read there, where nobody can tell the difference."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparsecomp
from sparsecomp.lower import pipeline, placement
from sparsecomp.program import relative_error
from tests.graphs import net

Forward = Callable[[Any, Tensor], Any]


def _net(forward: Forward) -> nn.Module:
    """Convolutions of 8 channels, and what a test does with them."""
    convolutions = {"a": nn.Conv2d(8, 8, 3, padding=1), "b": nn.Conv2d(8, 8, 1)}
    return net(forward, **convolutions, wide=nn.Conv2d(8, 16, 1), join=nn.Conv2d(16, 8, 1))


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many functions that would copy parts are left, and how many were spared, of the last compile."""
    found = [0, 0]

    def place(module):  # type: ignore[no-untyped-def]
        marks = (placement.JOINS, placement.PART)
        marked = [v for v, f in module.functions_items() if f.attrs and any(mark in f.attrs for mark in marks)]
        module = placement.place_parts(module)
        spared = sum("T.evaluate(0)" in module[variable].script() for variable in marked)
        found[:] = [len(marked) - spared, spared]
        return module

    monkeypatch.setattr(pipeline, "place_parts", place)
    return found


def _cross_stage(n: Any, x: Tensor) -> Any:
    """A block of YOLO: halves, steps from the second half, all joined."""
    first, second = n.wide(x).chunk(2, 1)
    third = torch.relu(n.a(second))
    return n.join(torch.cat([torch.cat([first, second], 1), torch.cat([third, n.b(third)], 1)], 1)[:, 8:24])


CASES: dict[str, tuple[Forward, int, int]] = {
    "joined": (lambda n, x: n.join(torch.cat([n.a(x), n.b(x)], 1)), 0, 1),
    "joined beside other readers": (lambda n, x: (n.join(torch.cat([y := n.a(x), n.b(y)], 1)), y.mean()), 0, 1),
    "taken apart": (lambda n, x: n.a((parts := n.wide(x).chunk(2, 1))[0]) - n.b(parts[1]), 0, 2),
    "taken apart and joined": (lambda n, x: n.join(torch.cat(n.wide(x).split(8, 1), 1)), 0, 0),
    "the whole is returned": (lambda n, x: torch.cat([n.a(x), n.b(x)], 1), 0, 1),
    "parts of a part": (lambda n, x: torch.cat([n.a(x), *(n.wide(x).chunk(2, 1))], 1).mean((2, 3)), 0, 1),
    "a part is returned": (lambda n, x: (n.join(torch.cat([y := n.a(x), n.b(x)], 1)), y), 0, 0),
    "an input": (lambda n, x: n.join(torch.cat([x, n.b(x)], 1)), 0, 0),
    "twice the same": (lambda n, x: n.join(torch.cat([y := n.a(x), y], 1)), 1, 0),
    "in two wholes": (lambda n, x: n.join(torch.cat([y := n.a(x), n.b(x)], 1)) + torch.cat([y], 1), 0, 1),
    "pieces returned": (lambda n, x: n.wide(x).chunk(2, 1), 2, 0),
}


@pytest.mark.parametrize("name", CASES)
def test_parts_need_no_copies(name: str, copies: list[int]) -> None:
    forward, left, spared = CASES[name]
    _check(_net(forward), (1, 8, 8, 8))
    assert copies == [left, spared]


@pytest.mark.parametrize("shape", [(2, 8, 8, 8), (1, 8, 5, 5)], ids=["a batch", "not whole cache lines"])
def test_others_are_copied(shape: tuple[int, ...], copies: list[int]) -> None:
    _check(_net(CASES["joined"][0]), shape)
    assert copies == [0, 0]


def test_blocks_inside_of_each_other() -> None:
    _check(_net(_cross_stage), (1, 8, 8, 8))


def test_a_batch_that_varies_is_copied(copies: list[int]) -> None:
    model, dim = _net(CASES["joined"][0]), torch.export.Dim("batch", max=8)
    compiled = sparsecomp.compile(model, "native", (torch.randn(2, 8, 8, 8),), dynamic_shapes={"inputs": ({0: dim},)})
    for batch in (1, 3):
        x = torch.randn(batch, 8, 8, 8)
        assert relative_error([compiled(x)], [model(x)]) < 1e-5
    assert copies == [0, 0]


def test_features_of_one_token_are_taken_apart_in_place(copies: list[int]) -> None:
    def gated(n: Any, x: Tensor) -> Tensor:
        left, right = n.up(x).chunk(2, -1)
        result: Tensor = n.left(left) * n.right(right)
        return result

    parts = {"up": nn.Linear(32, 64), "left": nn.Linear(32, 16), "right": nn.Linear(32, 16)}
    _check(net(gated, **parts), (1, 1, 32))
    assert copies == [0, 2]


def test_results_of_earlier_calls_stay() -> None:
    model = _net(CASES["the whole is returned"][0])
    first, second = torch.randn(2, 1, 8, 8, 8)
    compiled = sparsecomp.compile(model, "native", (first,))
    before = compiled(first)
    kept = before.clone()
    compiled(second)
    assert torch.equal(before, kept)


@pytest.mark.parametrize("seed", range(8))
def test_random_networks(seed: int) -> None:
    """Splits and concatenations of each other's parts, wherever they may lie."""
    choose = random.Random(seed)

    class Random(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(seed)
            self.layers = nn.ModuleList()
            self.plan = list(self._grow())

        def _grow(self) -> Iterator[tuple[str, list[int]]]:
            widths = [8]
            for _ in range(14):
                kind = choose.choice(["conv", "conv", "cat", "cat", "split", "relu", "pool"])
                picked = [choose.randrange(len(widths)) for _ in range(choose.randint(2, 4) if kind == "cat" else 1)]
                if kind == "split" and widths[picked[0]] % 4:
                    kind = "relu"
                width = sum(widths[i] for i in picked)
                if kind == "conv":
                    self.layers.append(nn.Conv2d(width, 8, choose.choice([1, 3]), padding="same"))
                    width = 8
                yield kind, picked
                widths += [width // 4, width - width // 4] if kind == "split" else [width]

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            values, layers = [x], iter(self.layers)
            for kind, picked in self.plan:
                given = [values[i] for i in picked]
                if kind == "split":
                    values += given[0].split([(quarter := given[0].shape[1] // 4), 3 * quarter], 1)
                    continue
                makers = {"conv": lambda y: next(layers)(y), "relu": torch.relu, "pool": _pool}
                values.append(torch.cat(given, 1) if kind == "cat" else makers[kind](given[0]))
            return tuple(values[-4:])

    _check(Random(), (1, 8, 8, 8))


def _pool(x: Tensor) -> Tensor:
    return nn.functional.max_pool2d(x, 3, 1, 1)


def _check(model: nn.Module, shape: tuple[int, ...]) -> None:
    model, x = model.eval(), torch.randn(shape)
    compiled = sparsecomp.compile(model, "native", (x,))
    with torch.no_grad():
        for given in (x, torch.randn(shape)):
            found, expected = compiled(given), model(given)
            as_list = lambda y: [y] if isinstance(y, Tensor) else list(y)  # noqa: E731
            assert relative_error(as_list(found), as_list(expected)) < 1e-5

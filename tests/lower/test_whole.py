"""Programs of known sizes as one function: the same results as in the virtual machine, whatever the threads."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sparsecomp
from sparsecomp.engine import Engine
from sparsecomp.memory_plan import MemoryPlan
from sparsecomp.runtime import Compiled


class Block(nn.Module):
    """Layers on all threads and on one, a kernel of two stages, a join, and a part of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(24, 48, 5, padding=2)  # its input is padded by all threads before any multiplies
        self.small = nn.Conv2d(48, 4, 1)
        self.sparse = nn.Conv2d(52, 64, 3, padding=1)
        self.sparse.weight.data[torch.rand(self.sparse.weight.shape) < 0.9] = 0.0
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        wide = self.wide(x).relu()
        y = self.sparse(torch.cat([self.small(wide), wide], 1))
        left, right = y.chunk(2, 1)
        return self.head((y + torch.cat([right, left], 1)).mean((2, 3))), left.sigmoid()


def engines(compiled: Compiled) -> tuple[Engine, Engine]:
    """The program as one function, and in the virtual machine."""
    library = compiled.prepare()
    parts = (library.module, list(library.weights.values()), library.signature, library.copied)
    assert library.plan is not None
    return Engine(*parts, library.plan), Engine(*parts)


def plan_of(model: nn.Module, *args: Tensor, **how: Any) -> MemoryPlan | None:
    return sparsecomp.compile(model.eval(), "native", args, **how).prepare().plan


def test_stages_wait_for_each_other() -> None:
    torch.manual_seed(0)
    model = Block().eval()
    compiled = sparsecomp.compile(model, "native", (torch.randn(1, 24, 40, 40),))
    whole, machine = engines(compiled)
    for _ in range(50):
        x = torch.randn(1, 24, 40, 40)
        found, wanted = whole((x,), {}), machine((x,), {})
        assert all(map(torch.equal, found, wanted))
        torch.testing.assert_close(tuple(found), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads_does(threads: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 24, 40, 40)
    compiled = sparsecomp.compile(Block().eval(), "native", (x,))
    compiled.save(tmp_path / "block.sc")
    np.save(tmp_path / "x.npy", x.numpy())
    code = (
        "import numpy, sparsecomp, sys\n"
        "compiled = sparsecomp.load(sys.argv[1] + '/block.sc')\n"
        "assert compiled.prepare().plan is not None\n"
        "results = compiled(numpy.load(sys.argv[1] + '/x.npy'))\n"
        "numpy.savez(sys.argv[1] + '/y.npz', *results)\n"
    )
    env = os.environ | {"TVM_NUM_THREADS": str(threads)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=env, check=True)
    with np.load(tmp_path / "y.npz") as found:
        for name, wanted in zip(found.files, compiled(x), strict=True):
            np.testing.assert_array_equal(found[name], wanted.detach().numpy())


def test_results_are_the_callers() -> None:
    """The next call does not write where a result of the last one is."""
    x = torch.randn(2, 8)
    compiled = sparsecomp.compile(nn.Sequential(nn.Linear(8, 8), nn.ReLU()).eval(), "native", (x,))
    assert compiled.prepare().plan is not None
    first = compiled(x)
    kept = first.clone()
    compiled(torch.randn(2, 8))
    assert torch.equal(first, kept)


def test_a_file_from_before_runs_in_the_virtual_machine(tmp_path: Path) -> None:
    x = torch.randn(2, 8)
    compiled = sparsecomp.compile(nn.Linear(8, 4).eval(), "native", (x,))
    compiled.save(tmp_path / "new.sc")
    with zipfile.ZipFile(tmp_path / "new.sc") as new, zipfile.ZipFile(tmp_path / "old.sc", "w") as old:
        for name in new.namelist():
            content = new.read(name)
            if name == "manifest.json":
                manifest = json.loads(content)
                assert MemoryPlan.from_dict(manifest.pop("memory")) == compiled.prepare().plan
                content = json.dumps(manifest).encode()
            old.writestr(name, content)
    loaded = sparsecomp.load(tmp_path / "old.sc")
    assert loaded.prepare().plan is None
    assert torch.equal(loaded(x), compiled(x))


def test_a_plan_from_before_counts_nothing() -> None:
    values = {"size": 64, "places": [0], "results": [[[2, 8], "float32"]]}
    assert MemoryPlan.from_dict(values) == MemoryPlan(64, (0,), (((2, 8), "float32"),), 0)


class Returns(nn.Module):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.what, self.linear = what, nn.Linear(8, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = self.linear(x)
        return {"input": (y, x), "weight": (y, self.linear.bias), "twice": (y, y), "view": (y, y.view(-1))}[self.what]


@pytest.mark.parametrize("what", ["input", "weight", "twice", "view"])
def test_what_is_returned_must_be_a_tensor_of_its_own(what: str) -> None:
    """Else the virtual machine runs the program; the compile has verified the results."""
    assert plan_of(Returns(what), torch.randn(2, 8)) is None


def test_sizes_that_vary_need_the_virtual_machine() -> None:
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    assert plan_of(nn.Linear(8, 8), torch.randn(2, 8), dynamic_shapes=shapes) is None
    assert plan_of(nn.Linear(8, 8), torch.randn(2, 8)) is not None

"""Single layers: our kernels against PyTorch dense, in GFLOP/s on the nonzeros and per cent of the measured FMA peak.

    python -m benchmarks.layers --threads 1 --layers resnet50 --out layers.json

Each engine runs in a process of its own, stopped while another measures, since waiting threads disturb. The engines
take turns, so that all see the same machine; a time is the minimum and the median over all turns. Schedules are the
first guess of the cost model, nothing is tuned.
"""

import argparse
import json
import multiprocessing
import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.layer_zoo import LAYERS, flops, shapes, weight_of
from benchmarks.machine import describe
from sparsecomp.kernels.problem import LinearProblem, Problem
from sparsecomp.targets import resolve
from sparsecomp.targets.base import Target
from sparsecomp.targets.threads import set_up_threads

CASES = ((1.0, 1), (0.3, 1), (0.2, 1), (0.1, 1), (0.05, 1), (0.1, 4))  # density, rows of a block
TURNS = 5
SECONDS_A_TURN = 0.05


def torch_call(problem: Problem, threads: int) -> Callable[[], Any]:
    """The dense layer by PyTorch."""
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    x, w = torch.randn(shapes(problem)[0]), torch.from_numpy(weight_of(problem, 1.0))
    if isinstance(problem, LinearProblem):
        return lambda: torch.nn.functional.linear(x, w)
    p = problem
    return lambda: torch.nn.functional.conv2d(x, w, None, p.stride, p.padding[::2], p.dilation, p.groups)


def our_call(problem: Problem, threads: int, density: float, block: int) -> tuple[Callable[[], Any], str]:
    """The layer by our first guess, and which schedule that is."""
    import tvm

    from sparsecomp.kernels.cost import WeightStats
    from sparsecomp.kernels.row_panel import build, pack
    from sparsecomp.kernels.space import space

    target = _target(threads)
    weight = weight_of(problem, density, block)
    schedule = space(problem, WeightStats.of(weight), target)[0]
    executable = tvm.compile(build(problem, schedule), target=tvm.target.Target(target.tvm_options()))
    x, y = (np.random.standard_normal(shape).astype(np.float32) for shape in shapes(problem))
    arguments = [tvm.runtime.tensor(array) for array in (x, *pack(weight, problem, schedule), y)]
    kernel = executable.jit().main  # as programs call it; calling the executable looks it up anew, which takes 2 us
    return lambda: kernel(*arguments), str(schedule)


def peak_call(threads: int) -> tuple[Callable[[], Any], float]:
    """A loop of nothing but vector FMA in registers, one chain for each of them but two; and its operations."""
    import tvm
    import tvm.tirx.script.builder.ir as T
    from tvm.script.ir_builder import IRBuilder

    from sparsecomp.kernels.emit import argument, local, ramp, splat, store

    target, steps = _target(threads), 100_000
    lanes, chains = target.lanes, target.vector_registers - 2
    vectors = [ramp(i * lanes, lanes) for i in range(chains)]
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("peak")
        y = argument("y", (threads, chains * lanes))
        with T.parallel(0, threads) as t:
            acc, factor = local("acc", chains * lanes), T.Bind(splat(y[t, 0], lanes))
            for i in vectors:
                store(acc, y[t, i], i)
            with T.serial(0, steps):
                for i in vectors:
                    store(acc, acc[i] * factor + factor, i)
            for i in vectors:
                store(y, acc[i], t, i)
    executable = tvm.compile(builder.get(), target=tvm.target.Target(target.tvm_options()))
    y = tvm.runtime.tensor(np.random.random((threads, chains * lanes)).astype(np.float32) / 2)
    return lambda: executable(y), 2.0 * threads * steps * chains * lanes


def _target(threads: int) -> Target:
    return replace(resolve("native"), cores=threads)


class Engine:
    """A process that makes and times calls; it is stopped except while it answers."""

    def __init__(self, threads: int) -> None:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TVM_NUM_THREADS"):
            os.environ[name] = str(threads)
        set_up_threads()
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        cores = sorted(os.sched_getaffinity(0))[:threads]
        self._process = context.Process(target=_serve, args=(theirs, cores), daemon=True)
        self._process.start()

    def ask(self, request: tuple[str, tuple[Any, ...]] | None) -> Any:
        """Make the call ``(name of a maker, arguments)`` and return the maker's note; or time the call for a turn."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGCONT)
        self._pipe.send(request)
        answer = self._pipe.recv()
        os.kill(self._process.pid, signal.SIGSTOP)
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.kill()


def _serve(pipe: Any, cores: list[int]) -> None:
    os.sched_setaffinity(0, cores)
    makers = {maker.__name__: maker for maker in (torch_call, our_call, peak_call)}
    call: Callable[[], Any] = int
    while True:
        request = pipe.recv()
        if request is None:
            pipe.send(_turn(call))
            continue
        made = makers[request[0]](*request[1])
        call, note = made if isinstance(made, tuple) else (made, None)
        pipe.send(note)


def _turn(call: Callable[[], Any]) -> list[float]:
    """Seconds of each call during one turn, after a warm-up."""
    call()
    times: list[float] = []
    end = time.perf_counter() + SECONDS_A_TURN
    while time.perf_counter() < end or len(times) < 3:
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return times


def measure(problem: Problem, threads: int, peak: float, engines: list[Engine]) -> Iterator[dict[str, Any]]:
    """PyTorch dense and ours at each case, in turns."""
    dense, *ours = engines
    dense.ask(("torch_call", (problem, threads)))
    notes = [engine.ask(("our_call", (problem, threads, *case))) for engine, case in zip(ours, CASES, strict=True)]
    times: list[list[float]] = [[] for _ in engines]
    for _ in range(TURNS):
        for mine, engine in zip(times, engines, strict=True):
            mine += engine.ask(None)
    for (density, block), note, mine in zip(CASES, notes, times[1:], strict=True):
        rate = flops(problem) * float((weight_of(problem, density, block) != 0).mean()) / min(mine)
        yield {
            "density": density,
            "block": block,
            "torch_us": min(times[0]) * 1e6,
            "torch_median_us": statistics.median(times[0]) * 1e6,
            "ours_us": min(mine) * 1e6,
            "ours_median_us": statistics.median(mine) * 1e6,
            "times_torch": min(times[0]) / min(mine),
            "gflops_on_nonzeros": rate / 1e9,
            "percent_of_peak": 100 * rate / peak,
            "schedule": note,
        }


def main() -> None:
    """Measure the layers whose name contains a word, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layers", default="", help="only those whose name contains this")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    arguments = parser.parse_args()
    engines = [Engine(arguments.threads) for _ in range(1 + len(CASES))]
    operations = engines[1].ask(("peak_call", (arguments.threads,)))
    peak = operations / min(min(engines[1].ask(None)) for _ in range(TURNS))
    print(f"FMA peak, {arguments.threads} thread(s): {peak / 1e9:.0f} GFLOP/s")
    print("times faster than PyTorch dense, GFLOP/s on the nonzeros, per cent of the peak")
    print(f"{'layer':28s} {'torch us':>9s} " + " ".join(f"{f'd={d} b={b}':>15s}" for d, b in CASES))
    rows: list[dict[str, Any]] = []
    for name, problem in LAYERS.items():
        if arguments.layers in name:
            found = list(measure(problem, arguments.threads, peak, engines))
            rows += [{"layer": name, **row} for row in found]
            print(
                f"{name:28s} {found[0]['torch_us']:9.1f} " + " ".join(f"{_cell(row):>15s}" for row in found), flush=True
            )
    for engine in engines:
        engine.close()
    if arguments.out:
        record = {**describe(), "threads": arguments.threads, "peak": peak, "layers": rows}
        arguments.out.write_text(json.dumps(record, indent=1))


def _cell(row: dict[str, Any]) -> str:
    return f"{row['times_torch']:.2f}x {row['gflops_on_nonzeros']:.0f} {row['percent_of_peak']:.0f}%"


if __name__ == "__main__":
    main()

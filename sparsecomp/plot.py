"""Pictures of sparsity as matplotlib figures: ``sparsecomp.plot.spy(weight).savefig("spy.png")``.

No function touches pyplot, so none changes the state of a program that draws itself; a notebook shows what is returned.
"""

import io
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsecomp.errors import SparsecompError
from sparsecomp.prune.result import PruneReport
from sparsecomp.report import Report

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError as error:
    raise SparsecompError("plot: matplotlib is not installed; pip install 'sparsecomp[plot]'") from error

SPARSE, DENSE = "#0b7a6e", "#b9c3d2"


class Picture(Figure):
    """A figure that notebooks show without pyplot."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=72)
        return buffer.getvalue()


def spy(weight: Any, *, name: str = "", cells: int = 128) -> Figure:
    """Where the nonzeros of a weight are, seen as a matrix of its first axis by the rest.

    Args:
        weight: a tensor or array of one axis or more.
        name: for the title.
        cells: rows and columns of the picture at most; a cell of a larger matrix shows its density.

    Raises:
        SparsecompError: the weight is empty, or a single number.
    """
    array = np.asarray(weight.detach().cpu() if hasattr(weight, "detach") else weight)
    if not array.size or not array.ndim:
        raise SparsecompError(f"plot.spy: expected a weight with entries, got one of shape {tuple(array.shape)}")
    mask = (array if array.ndim > 1 else array[None]).reshape(array.shape[0] if array.ndim > 1 else 1, -1) != 0
    figure, axes = _figure(5, 5)
    axes.imshow(
        _means(_means(mask.astype(float), cells).T, cells).T,
        cmap="Greens",
        vmin=0,
        vmax=1,
        aspect="auto",
        interpolation="nearest",
    )
    axes.set(xlabel=f"inputs ({mask.shape[1]})", ylabel=f"outputs ({mask.shape[0]})", xticks=[], yticks=[])
    axes.set_title(_plain(f"{name}  {100 * mask.mean():.3g} % nonzeros".strip()), loc="left")
    return figure


def density_by_layer(source: Any) -> Figure:
    """The share of nonzeros of every weight, as bars.

    Args:
        source: a `Compiled`, a `Pruned`, or the report of either.

    Raises:
        SparsecompError: there are no layers in it.
    """
    report = _report(source)
    rows = report.to_dict()["layers"]
    figure, axes = _bars("plot.density_by_layer", [row.get("layer") or row.get("name", "") for row in rows])
    axes.barh(range(len(rows)), [100 * row["density"] for row in rows], color=SPARSE)
    axes.set(xlabel="nonzeros, %", xlim=(0, 100))
    return figure


def time_by_layer(source: Any) -> Figure:
    """Milliseconds of every layer, dense as predicted, and compiled as measured or else predicted.

    Args:
        source: a `Compiled` or its report.

    Raises:
        SparsecompError: there are no layers in it.
    """
    report = _report(source)
    rows = report.layers if isinstance(report, Report) else ()
    figure, axes = _bars("plot.time_by_layer", [row["layer"] for row in rows])
    times = [row["predicted"] if row["measured"] is None else row["measured"] for row in rows]
    places = np.arange(len(rows))
    axes.barh(places - 0.2, [1e3 * (row["dense_predicted"] or 0) for row in rows], 0.38, color=DENSE, label="dense")
    axes.barh(places + 0.2, [1e3 * (time or 0) for time in times], 0.38, color=SPARSE, label="compiled")
    axes.set(xlabel="time, ms")
    axes.legend(frameon=False)
    return figure


def speedup_by_sparsity(series: Mapping[str, Iterable[tuple[float, float]]]) -> Figure:
    """How many times as fast, over the share of zeros, one line for each name.

    Args:
        series: points ``(sparsity, speed-up)`` by name, sparsity from 0 to 1.

    Raises:
        SparsecompError: there is no series, or one without points.
    """
    lines = {name: sorted(points) for name, points in series.items()}
    if not lines or not all(lines.values()):
        raise SparsecompError("plot.speedup_by_sparsity: expected points (sparsity, speed-up) for at least one name")
    figure, axes = _figure(6.4, 4)
    for name, points in lines.items():
        axes.plot([100 * point[0] for point in points], [point[1] for point in points], marker="o", label=_plain(name))
    axes.axhline(1, color=DENSE, linewidth=1, zorder=0)
    axes.set(xlabel="zeros, %", ylabel="times as fast")
    axes.legend(frameon=False)
    return figure


def _report(source: Any) -> Report | PruneReport:
    kinds = Report | PruneReport
    found = source if isinstance(source, kinds) else getattr(source, "report", None)
    if not isinstance(found, kinds):
        raise SparsecompError(f"plot: expected a Compiled, a Pruned or a report, got {type(source).__name__}")
    return found


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Picture(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _bars(caller: str, names: list[str]) -> tuple[Figure, Axes]:
    """A figure with a row for each name, the first on top."""
    if not names:
        raise SparsecompError(f"{caller}: there are no layers in this report")
    figure, axes = _figure(7, max(1.6, 0.8 + 0.24 * len(names)))
    axes.set_yticks(range(len(names)), [_plain(name) for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    return figure, axes


def _plain(text: str, most: int = 48) -> str:
    """The end of a name; a dollar sign would begin mathematics, and control characters have no picture."""
    text = "".join(character if character.isprintable() else " " for character in text)
    return (text if len(text) <= most else f"…{text[1 - most :]}").replace("$", r"\$")


def _means(matrix: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """Means of at most ``most`` runs of rows of nearly equal length."""
    if len(matrix) <= most:
        return matrix
    starts = np.linspace(0, len(matrix), most + 1).astype(int)
    sums: NDArray[np.float64] = np.add.reduceat(matrix, starts[:-1], axis=0)
    return sums / np.diff(starts)[:, None]

"""Figures show the numbers that they are given, and touch nothing else."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from sparsecomp import plot
from sparsecomp.errors import SparsecompError
from sparsecomp.prune.result import LayerReport, PruneReport
from sparsecomp.report import Report
from tests.inspect.page_reports import HOSTILE, hostile_report, row


def made(*rows):
    return Report("Net", "native", "()", (), {}, 3, 100, layers=rows)


def lengths(figure):
    return [round(bar.get_width(), 6) for bar in figure.axes[0].patches]


@pytest.mark.parametrize(
    "weight", [torch.eye(4), np.eye(4), torch.nn.Parameter(torch.eye(4)), torch.eye(4).reshape(4, 2, 2)]
)
def test_a_spy_plot_is_the_mask(weight):
    figure = plot.spy(weight, name="body")
    assert np.array_equal(figure.axes[0].images[0].get_array(), np.eye(4))
    assert figure.axes[0].get_title(loc="left") == "body  25 % nonzeros"


def test_a_cell_of_a_large_weight_is_its_density():
    weight = np.zeros((6, 4))
    weight[:3, :2] = 1
    weight[5, 3] = 1
    shown = plot.spy(weight, cells=2).axes[0].images[0].get_array()
    assert np.allclose(shown, [[1, 0], [0, 1 / 6]])


def test_runs_of_unequal_length_are_averaged_each():
    assert np.allclose(plot.spy(np.array([1, 0, 0, 0, 1]), cells=2).axes[0].images[0].get_array(), [[0.5, 1 / 3]])


@pytest.mark.parametrize("weight", [torch.zeros(0, 4), torch.tensor(1.0)])
def test_a_weight_without_entries_is_refused(weight):
    with pytest.raises(SparsecompError, match=r"plot\.spy: expected a weight"):
        plot.spy(weight)


def test_density_of_a_compile_and_of_a_prune():
    figure = plot.density_by_layer(made(row(0), row(4)))
    assert lengths(figure) == [10, 50]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["body.0", "body.4"]
    pruned = PruneReport("Net", "", "", "", 0.5, (LayerReport("w", (2, 2), "", 0.25),), 4, 1, 1.0)
    assert lengths(plot.density_by_layer(pruned)) == [25]


def test_times_are_measured_where_they_were_and_predicted_elsewhere():
    figure = plot.time_by_layer(made(row(0), row(1, measured=3e-3), row(2, predicted=None, dense_predicted=None)))
    assert lengths(figure) == [0.02, 0.04, 0, 0.01, 3, 0]


def test_speedups_are_lines_in_order_of_sparsity():
    figure = plot.speedup_by_sparsity({"ours": [(0.9, 3.0), (0.5, 1.5)], "dense": [(0.5, 1.0)]})
    first = figure.axes[0].lines[0]
    assert first.get_label() == "ours" and np.allclose(first.get_xydata(), [[50, 1.5], [90, 3]])


@pytest.mark.parametrize("series", [{}, {"ours": []}])
def test_no_points_are_refused(series):
    with pytest.raises(SparsecompError, match="expected points"):
        plot.speedup_by_sparsity(series)


@pytest.mark.parametrize("draw", [plot.density_by_layer, plot.time_by_layer])
def test_what_has_no_layers_is_refused(draw):
    with pytest.raises(SparsecompError, match="no layers"):
        draw(made())
    with pytest.raises(SparsecompError, match="expected a Compiled"):
        draw(3)


@pytest.mark.filterwarnings("ignore:Glyph")
def test_names_of_any_kind_can_be_drawn():
    report = made(*hostile_report()["layers"], row(0, layer="$\\frac{$"))
    for figure in (plot.density_by_layer(report), plot.time_by_layer(report), plot.spy(np.eye(2), name=HOSTILE[3])):
        assert figure._repr_png_().startswith(b"\x89PNG")


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_pyplot_is_not_imported():
    done = run(
        "import sys, sparsecomp, numpy; sparsecomp.plot.spy(numpy.eye(2)); print('matplotlib.pyplot' in sys.modules)"
    )
    assert done.stdout == "False\n"


def test_without_matplotlib_the_error_names_the_extra():
    done = run("import sys; sys.modules['matplotlib'] = None\nimport sparsecomp; sparsecomp.plot")
    assert "SparsecompError" in done.stderr and "pip install 'sparsecomp[plot]'" in done.stderr

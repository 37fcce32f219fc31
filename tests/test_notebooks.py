"""Executes the notebooks of the documentation, and looks whether they show what they say."""

import os
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
NOTEBOOKS = sorted(DOCS.glob("*.ipynb"))
nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")


def kinds(cell):
    """The kinds of content that the results of a cell have."""
    return {kind for output in cell.outputs for kind in output.get("data", ())}


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_it_runs_and_shows_what_was_stored(path, tmp_path, monkeypatch):
    """Figures are compared by kind: pixels differ between machines."""
    root = str(DOCS.parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    stored = nbformat.read(path, as_version=4)
    fresh = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(fresh, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert [kinds(cell) for cell in code_cells(fresh)] == [kinds(cell) for cell in code_cells(stored)]
    assert sum("image/png" in kinds(cell) for cell in code_cells(fresh)) >= 4
    assert sum("text/html" in kinds(cell) for cell in code_cells(fresh)) >= 2


def test_there_is_a_notebook():
    assert NOTEBOOKS

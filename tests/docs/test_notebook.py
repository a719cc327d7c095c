"""The notebook runs from its first cell to its last, as for someone who opens it, and is kept
without outputs.
"""

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tutorial.ipynb"


@pytest.mark.slow
def test_the_notebook_runs():
    nbformat = pytest.importorskip(
        "nbformat", reason="nbclient is not installed: pip install -e '.[dev]'"
    )
    nbclient = pytest.importorskip(
        "nbclient", reason="nbclient is not installed: pip install -e '.[dev]'"
    )
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    ).execute()
    shown = [str(output) for cell in code for output in cell.outputs]
    assert any("dog" in text and "T=1" in text for text in shown)
    for part in ("image/png", "<video "):
        assert any(part in text for text in shown), part

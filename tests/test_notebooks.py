"""The committed notebooks run on the committed results, and hold what they print."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks() -> None:
    assert {path.stem for path in NOTEBOOKS} >= {"generalization", "compare_experiments"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_executes_and_prints_what_is_committed(path: Path) -> None:
    committed = nbformat.read(path, as_version=4)
    fresh = nbformat.read(path, as_version=4)
    NotebookClient(fresh, timeout=120, resources={"metadata": {"path": str(path.parent)}}).execute()
    assert texts(fresh) == texts(committed)
    assert any(texts(committed)), "committed without outputs"
    assert "train(" not in "".join(cell.source for cell in committed.cells)


def texts(notebook: nbformat.NotebookNode) -> list[str]:
    """The text outputs of a notebook, cell by cell; figures are compared by their presence."""
    found = []
    for cell in notebook.cells:
        outputs = cell.get("outputs", [])
        streams = "".join(output.get("text", "") for output in outputs)  # in however many pieces it arrived
        data = [output.get("data", {}) for output in outputs]
        found.append(streams + "".join(each.get("text/plain", "") + "figure" * ("image/png" in each) for each in data))
    return found

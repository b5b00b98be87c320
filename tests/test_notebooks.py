"""The committed notebooks run as they stand, each in its minute, and print what is committed."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def test_the_notebooks_teach_what_users_do() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["bring_your_own_network", "make_an_experiment", "read_a_study"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_executes_and_prints_what_is_committed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(path.parents[1]))
    committed, fresh = nbformat.read(path, as_version=4), nbformat.read(path, as_version=4)
    NotebookClient(fresh, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
    assert texts(fresh) == texts(committed)
    assert sum("figure" in text for text in texts(committed)) >= 1, "committed without outputs"


def texts(notebook: nbformat.NotebookNode) -> list[str]:
    """The text outputs of a notebook, cell by cell; figures are compared by their presence."""
    found = []
    for cell in notebook.cells:
        outputs = cell.get("outputs", [])
        streams = "".join(output.get("text", "") for output in outputs)  # in however many pieces it arrived
        data = [output.get("data", {}) for output in outputs]
        plain = "".join("figure" if "image/png" in each else each.get("text/plain", "") for each in data)
        found.append(streams + plain)
    return found

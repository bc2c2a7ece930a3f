"""The notebook runs from top to bottom, and its committed outputs are those of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from bench.core.plugins import ROOT

BOOK = ROOT / "docs" / "quickstart.ipynb"


def results(book: Any, kind: str) -> list[str]:
    """What its cells return, of one MIME type."""
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    outputs = [output.data for cell in cells for output in cell.outputs if output.output_type == "execute_result"]
    return [data[kind] for data in outputs if kind in data and (kind != "text/plain" or "image/png" not in data)]


@pytest.mark.filterwarnings("ignore")  # of the kernel's own libraries
def test_the_notebook_runs_and_shows_what_is_committed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    committed = nbformat.read(BOOK, 4)
    assert len(results(committed, "image/png")) == 4
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    book = nbformat.read(BOOK, 4)
    NotebookClient(book, timeout=900, resources={"metadata": {"path": str(BOOK.parent)}}).execute()
    assert results(book, "text/plain") == results(committed, "text/plain")
    assert len(results(book, "image/png")) == 4

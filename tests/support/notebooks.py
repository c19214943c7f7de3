"""Execute the example notebooks. As a script, store their outputs: `make notebooks`."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))

ENVIRONMENT = {
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENBLAS_NUM_THREADS": "1",
}
"""One set of loops of numpy and OpenBLAS for all x86-64 processors: newer ones have other loops that round differently,
and training would give other predictions."""


def execute(path: Path, folder: Path) -> Any:
    """Return a notebook with fresh outputs; its kernel starts in ``folder``."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": folder}})
    client.execute(env=os.environ | ENVIRONMENT)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times
    return notebook


def main(names: list[str]) -> None:
    """Execute and store the notebooks of these names, or all."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TMPDIR"] = folder
        (work := Path(folder) / "work").mkdir()
        for path in NOTEBOOKS:
            if not names or path.stem in names:
                notebook = execute(path, work)
                nbformat.write(notebook, path)


if __name__ == "__main__":
    main(sys.argv[1:])

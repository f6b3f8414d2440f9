"""What a forked kernel saves: a notebook that only imports what lessons import, in a forked kernel and in a plain one.

    python benchmarks/kernels.py --repeats 3

Prints seconds of each, in the order they ran. The first forked one waits for the imports of the process it is forked
from.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import nbformat
import typer
from nbformat.v4 import new_code_cell, new_notebook

from reidkit.course import run, warm_kernels

LINES = "from reidkit import attention, plots, widgets\nfrom reidkit.course import exercises, figures"


def main(repeats: Annotated[int, typer.Option(help="Notebooks of each kind.")] = 3) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "imports.ipynb"
        nbformat.write(new_notebook(cells=[new_code_cell(LINES)]), path)
        settings = {"profile": "smoke", "dataset": "synthetic", "progress": False}
        for warm, kind in ((True, "forked"), (False, "plain")):
            warm_kernels.WARM = warm
            seconds = [run.execute(path, Path(folder) / "out", **settings).seconds for _ in range(repeats)]  # type: ignore[arg-type]
            print(f"{kind}: {', '.join(f'{value:.1f}' for value in seconds)} s")


if __name__ == "__main__":
    typer.run(main)

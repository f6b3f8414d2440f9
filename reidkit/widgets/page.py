"""A widget as a page of its own, by Voila: for people who do not code."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import nbformat

from ..errors import InputError


def page(folder: Path, title: str, code: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Write a notebook and a template that asks for nothing outside; returns how Voila serves them.

    Args:
        folder: where they go; it exists and is empty.
        title: of the tab.
        code: a cell each; the last one shows the widget.
    Returns:
        the command, and the environment variables it needs.
    Raises:
        InputError: there is no Voila.
    """
    if find_spec("voila") is None:
        raise InputError("there is no voila, which makes a page of a widget: pip install -e '.[voila]'.")
    shutil.copytree(Path(__file__).parent / "voila", folder / "voila" / "templates" / "reidkit")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in code])
    book.metadata |= {"title": title, "kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(book, folder / "page.ipynb")
    paths = os.pathsep.join(part for part in (str(folder), os.environ.get("JUPYTER_PATH")) if part)
    command = [sys.executable, "-m", "voila", str(folder / "page.ipynb"), "--template=reidkit"]
    return command, {"JUPYTER_PATH": paths}

"""Files and folders that are whole or absent: written under a temporary name beside their own, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import InputError


def write_whole(path: Path, how: Callable[[Path], Any]) -> None:
    """Write a file: `how` is given the temporary path, which is this process's own and gone if it fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        how(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path, *, instead: bool = False) -> Iterator[Path]:
    """A temporary folder to fill; it takes the name `path` when the block ends, and is gone if the block fails.

    Args:
        path: the name; its parent is made if absent.
        instead: whether a folder of that name is replaced.
    Raises:
        InputError: another process took the name in the meantime.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # of an earlier process with the same number that was killed
    temporary.mkdir()
    try:
        yield temporary
        if instead:
            shutil.rmtree(path, ignore_errors=True)
        try:
            temporary.rename(path)
        except OSError:
            raise InputError(f"{path} was written by another process meanwhile: look at it, then try again.") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)

"""What a result rests on: a hash of functions and of all that they name, versions, the state of a file."""

from __future__ import annotations

import ast
import dis
import hashlib
import inspect
import os
import platform
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch

TABLES = ("RECIPES", "VARIANTS", "CLAIMS")  # of a system: the recipe of a run has what it took from them


def source_hash(*things: Any, known: tuple[Any, ...] = ()) -> str:
    """Eight letters that change with the code of functions and classes, or of what they name, however far away.

    Names are followed into this package, into your own files and into the cells of a notebook, to functions, classes
    and plain values such as numbers; not into installed libraries or Python's own. Comments, docstrings and layout do
    not count.

    Args:
        things: functions and classes.
        known: what is not to be looked into.
    """
    seen = {id(thing) for thing in known}
    parts = (part for thing in things for part in _told(thing, seen))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def _told(thing: Any, seen: set[int]) -> Iterator[str]:
    """What there is to tell of a thing and of all it names; each function and class once."""
    if isinstance(thing, staticmethod | classmethod):
        thing = thing.__func__
    if isinstance(thing, property):
        yield from _told((thing.fget, thing.fset), seen)
    elif thing is None or isinstance(thing, bool | int | float | str):
        yield repr(thing)
    elif isinstance(thing, Mapping):
        yield from _told([*thing.items()], seen)
    elif isinstance(thing, set | frozenset):
        yield repr(sorted(map(repr, thing)))
    elif isinstance(thing, list | tuple):
        for part in thing:
            yield from _told(part, seen)
    elif isinstance(thing, type):
        yield thing.__qualname__
        if id(thing) not in seen and _followed(thing):
            seen.add(id(thing))
            yield from _told(thing.__bases__, seen)
            for name, part in vars(thing).items():
                made = name.startswith("__") and not (isinstance(part, FunctionType) and _text(part))
                if name not in TABLES and not made:  # by Python or by dataclass, of what is told here
                    yield name
                    yield from _told(part, seen)
    elif isinstance(inspect.unwrap(thing) if callable(thing) else thing, FunctionType):
        function = inspect.unwrap(thing)  # what a decorator such as torch.no_grad() wraps
        yield function.__qualname__
        if id(function) not in seen and _followed(function):
            seen.add(id(function))
            yield _text(function)
            yield from _told([cell.cell_contents for cell in function.__closure__ or ()], seen)
            yield from _told(_named(function), seen)


def _followed(thing: Any) -> bool:
    """Whether a function or class is of this package or of your own."""
    name = str(thing.__module__)
    top, module = name.partition(".")[0], sys.modules.get(name)
    file = str(vars(module).get("__file__")) if module else ""
    return top in (__package__, "__main__") or not (top in sys.stdlib_module_names or "-packages" in file)


def _named(function: FunctionType) -> list[Any]:
    """The global things that a function names; of a module, its attributes that the function names."""
    codes: list[CodeType] = [function.__code__]
    for code in codes:  # grows: functions inside functions
        codes += [const for const in code.co_consts if isinstance(const, CodeType)]
    loaded = [i.argval for code in codes for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"]
    found = [function.__globals__[name] for name in dict.fromkeys(loaded) if name in function.__globals__]
    spoken = list(dict.fromkeys(name for code in codes for name in code.co_names))
    modules = [thing for thing in found if isinstance(thing, ModuleType)]
    return found + [vars(module)[name] for module in modules for name in spoken if name in vars(module)]


def _text(function: FunctionType) -> str:
    """The source of a function without comments, docstrings and layout."""
    try:
        return _tree(ast.parse(textwrap.dedent(inspect.getsource(function))))
    except OSError:  # made at run time, as the methods of a dataclass
        return ""
    except SyntaxError:  # a part of an expression
        return inspect.getsource(function)


def _tree(node: Any) -> str:
    """A syntax tree as text, the same in every version of Python as long as the syntax is."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return ""  # a docstring
    if isinstance(node, list):
        return "[" + ",".join(map(_tree, node)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    inside = [f"{name}={_tree(value)}" for name, value in ast.iter_fields(node) if value not in (None, [])]
    return f"{type(node).__name__}({','.join(inside)})"


def environment() -> dict[str, Any]:
    """What a reader needs to repeat a run: versions, machine, state of the code."""
    names = ("reidkit", "torch", "torchvision", "numpy", "pandas")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in names},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "git": git_state(),
    }


def git_state() -> str:
    """Commit of the code and whether it was changed since; "unknown" outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def stamp(path: Path | str) -> str:
    """A file's path, time of change and size: another one, and it is another picture. The path alone if it is gone."""
    try:
        about = Path(path).stat()
    except OSError:  # who reads it will say so
        return str(path)
    return f"{path}|{about.st_mtime_ns}|{about.st_size}"

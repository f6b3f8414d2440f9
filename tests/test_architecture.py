"""The shape of the house: who may import whom, what is documented, what a notebook stores."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from reidkit import synthetic

TOP = Path(__file__).parents[1]
PACKAGE = TOP / "reidkit"
ORDER = [
    "errors", "files", "distances", "images", "attributes", "checks", "statistics", "synthetic", "data", "augment",
    "samplers", "backbones", "losses", "cam", "source", "systems", "recipes", "devices", "train", "runs", "features",
    "metrics", "search", "ranking", "groups", "thresholds", "finding", "attention", "plots", "widgets", "course",
    "doctor", "cli",
]  # fmt: skip
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__main__.py")
NOTEBOOKS = sorted((TOP / "notebooks").glob("*.ipynb"))


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def module_of(path: Path) -> str:
    """images for images.py, systems for systems/baseline.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Modules of reidkit that a file imports, anywhere in it."""
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            here = ["reidkit", *path.relative_to(PACKAGE).parts[:-1]][: depth - node.level + 1] if node.level else []
            base = here + (node.module.split(".") if node.module else [])
            names = [[*base, alias.name] for alias in node.names]
        yield from (parts[1] for parts in names if parts[0] == "reidkit" and len(parts) > 1)


@pytest.mark.parametrize("path", [p for p in FILES if p != PACKAGE / "__init__.py"], ids=name_of)
def test_a_module_imports_only_from_modules_above_it(path: Path) -> None:
    own = module_of(path)
    assert own in ORDER, f"{own} has no place in the order of the design"
    for other in imported(path):
        inside = own == other and path.parent != PACKAGE
        assert inside or ORDER.index(other) < ORDER.index(own), f"{own} stands above {other} and may not import it"


def test_imports_are_seen() -> None:
    """The reader of imports reads every kind there is."""
    assert {"errors", "distances", "features"} <= set(imported(PACKAGE / "ranking.py"))
    assert {"course", "doctor", "plots", "runs"} <= set(imported(PACKAGE / "cli.py"))  # `from . import`, in functions
    assert {"backbones", "losses"} <= set(imported(PACKAGE / "systems" / "baseline.py"))


def test_import_reidkit_is_light() -> None:
    code = "import sys, reidkit.cli; assert not {'torch', 'scipy'} & {*sys.modules}; print(reidkit.__all__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "evaluate" in done.stdout


def test_every_public_name_is_there() -> None:
    import reidkit

    assert all(callable(getattr(reidkit, name)) for name in reidkit.__all__)
    assert sorted(reidkit._MODULE) == sorted(reidkit.__all__) and set(reidkit.__all__) <= set(dir(reidkit))
    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        _ = reidkit.evalute  # type: ignore[attr-defined]


def public(path: Path) -> list[ast.FunctionDef | ast.ClassDef]:
    body = ast.parse(path.read_text()).body
    return [n for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef) and not n.name.startswith("_")]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_docstrings(path: Path) -> None:
    """Every public function and class has one. Of synthetic/ what it exports is public."""
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"
    lacking = [node.name for node in public(path) if not ast.get_docstring(node)]
    lacking = [name for name in lacking if module_of(path) != "synthetic" or name in synthetic.__all__]
    assert not lacking


def described(path: Path) -> Iterator[tuple[str, list[str], str]]:
    """Every function and method with "Args:": its name, its arguments in order, the lines under "Args:"."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            block = re.search(r"^Args:\n((?:[ ]{4}.*\n?)+)", ast.get_docstring(node) or "", re.M)
            given = node.args
            every = (*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg)
            signature = [argument.arg for argument in every if argument]
            if block:
                yield node.name, [name for name in signature if name not in ("self", "cls")], block[1]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_each_argument_has_a_line_of_its_own(path: Path) -> None:
    """Readers of Google docstrings take one name a line: "a, b: ..." and "a: ... b: ..." hide b from them."""
    for function, signature, block in described(path):
        entries = re.findall(r"^[ ]{4}(\S[^:\n]*)", block, re.M)
        assert entries == signature, f"{function} has the arguments {signature}, and under Args: {entries}"


def test_there_are_lessons() -> None:
    assert {path.name[:2] for path in NOTEBOOKS} >= {"00", "01"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_store_no_outputs_and_have_one_cell_of_knobs(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code and not any(cell["outputs"] or cell["execution_count"] for cell in code)
    knobs = [cell for cell in code if "parameters" in cell["metadata"].get("tags", [])]
    assert len(knobs) == 1
    text = "".join(knobs[0]["source"])
    assert all(name in text for name in ("PROFILE", "DATASET", "REIDKIT_PROFILE", "REIDKIT_DATASET"))


SCRIPTS = [
    *NOTEBOOKS,
    *sorted((TOP / "notebooks" / "exercises").glob("*.py")),
    *sorted((TOP / "benchmarks").glob("*.py")),
]


def code_of(path: Path) -> str:
    """The code of a script or a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_what_a_lesson_names_of_the_library_is_there(path: Path) -> None:
    """Its imports from reidkit, and every `module.name` of the modules that it imports."""
    tree, room = ast.parse(code_of(path)), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and "reidkit" in ast.unparse(node):
            exec(ast.unparse(node), room)
    modules = {name: thing for name, thing in room.items() if isinstance(thing, ModuleType)}
    named = {
        (node.value.id, node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    assert [pair for pair in sorted(named) if pair[0] in modules and not hasattr(modules[pair[0]], pair[1])] == []

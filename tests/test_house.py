"""The house's own rules that no tool knows."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "reidkit"
FILES = sorted(PACKAGE.rglob("*.py"))
SYSTEMS = {"network", "system", "model", "module", "chosen"}  # what a network, a system or its class is called


def probes(text: str) -> Iterator[str]:
    """Calls of hasattr or getattr on a network or a system."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("hasattr", "getattr"):
            asked = node.args[0]
            last = asked.func if isinstance(asked, ast.Call) else asked  # network(images), run.network
            name = last.attr if isinstance(last, ast.Attribute) else last.id if isinstance(last, ast.Name) else ""
            if name in SYSTEMS or name.startswith("system_"):
                yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_network_or_system_is_probed(path: Path) -> None:
    """What a system has stands in `systems.System`, with a default for all that not every system has."""
    assert not list(probes(path.read_text()))


def test_probes_are_seen() -> None:
    text = """
if hasattr(run.network, "evidence") or getattr(network(images), "attention", None) or hasattr(system, "invent"):
    getattr(system_of(recipe.system), "learns_attributes", None), getattr(module, "VARIANTS", {})
getattr(self, name), hasattr(os, "geteuid"), network.tasks
"""
    assert len(list(probes(text))) == 5


# --- how large it is ---


def code_lines(path: Path) -> int:
    """Lines with code on them: neither blank, nor comment, nor docstring."""
    text, docs = path.read_text(), set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            docs |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type not in silent]
    return len({line for t in tokens for line in range(t.start[0], t.end[0] + 1)} - docs)


CORE = [
    "errors",
    "files",
    "images",
    "attributes",
    "data",
    "augment",
    "samplers",
    "backbones",
    "losses",
    "cam",
    "systems/base",
    "systems/baseline",
    "recipes",
    "devices",
    "train",
    "runs",
    "features",
    "distances",
    "metrics",
    "ranking",
]


def test_code_lines_are_counted(tmp_path: Path) -> None:
    head = '"""Two\nlines."""\n\n# a comment\nx = (\n    1,  # with one\n)\n\n\n'
    text = head + 'def f():\n    """Says."""\n    return """a\nb"""\n'
    path = tmp_path / "some.py"
    path.write_text(text)
    assert code_lines(path) == 3 + 1 + 2


def test_the_core_is_small() -> None:
    """What a student reads from top to bottom."""
    lines = {name: code_lines(PACKAGE / f"{name}.py") for name in CORE}
    assert {name: n for name, n in lines.items() if n > 250 and name not in ("images", "attributes")} == {}
    assert sum(lines.values()) <= 2500, lines


def test_the_library_is_small() -> None:
    # 10,300 for what there was before a start that has learnt came along: crowd, system, weights, search without a run,
    # tests of a map that ask the network again, tables that average only what is one recipe
    assert sum(map(code_lines, FILES)) <= 10_560
    assert sum(code_lines(path) for path in PACKAGE.glob("*.py")) <= 4500


# --- one name, one meaning ---


def public_names(path: Path) -> set[str]:
    """Functions, classes and constants that a module defines."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in targets:
            names |= {part.id for part in ast.walk(target) if isinstance(part, ast.Name)}
    return {name for name in names if not name.startswith("_")}


ALLOWED = {"Output"}  # of every system


def test_a_public_name_stands_in_one_module() -> None:
    """But for a command and what it calls, and for what is computed and how `plots` draws it."""
    homes: dict[str, list[str]] = {}
    for path in FILES:
        module = path.relative_to(PACKAGE).with_suffix("").as_posix()
        if module not in ("cli", "plots"):
            for name in public_names(path):
                homes.setdefault(name, []).append(module)
    assert {name: modules for name, modules in homes.items() if len(modules) > 1 and name not in ALLOWED} == {}


def test_a_public_name_is_no_other_module() -> None:
    """But for commands; and a module may be called as its one function, or stand in a package called so."""
    parts = {path: path.relative_to(PACKAGE).with_suffix("").parts for path in FILES}
    modules = {part for names in parts.values() for part in names} - {"__init__"}
    both = {"/".join(parts[path]): public_names(path) & modules - set(parts[path]) for path in FILES}
    assert {module: names for module, names in both.items() if names and module != "cli"} == {}
